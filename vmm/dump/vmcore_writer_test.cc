// Dump files read back byte by byte, and every way in which writing one can fail.
#include "vmm/dump/vmcore_writer.h"

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "vmm/dump/format.h"
#include "vmm/dump/touched_pages.h"

namespace stasis::dump {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMiB = uint64_t{1} << 20;

std::unique_ptr<GuestMemory> Memory(std::vector<std::pair<uint64_t, uint64_t>> ranges) {
  std::vector<MemoryRegion> regions;
  for (const auto& [base, size] : ranges) {
    MemoryRegion region;
    region.base = GuestAddress(base);
    region.size = size;
    regions.push_back(region);
  }
  return GuestMemory::Create(std::move(regions)).value();
}

// A dump as a reader sees it.
struct ReadBack {
  std::string bytes;
  Elf64_Ehdr header;
  std::vector<Elf64_Phdr> segments;
  struct Note {
    std::string name;
    uint32_t type;
    std::string content;
  };
  std::vector<Note> notes;

  std::string At(uint64_t physical, size_t length) const {
    for (const Elf64_Phdr& segment : segments) {
      if (segment.p_type == PT_LOAD && physical >= segment.p_paddr &&
          physical + length <= segment.p_paddr + segment.p_filesz) {
        return bytes.substr(segment.p_offset + physical - segment.p_paddr, length);
      }
    }
    return "";
  }
};

ReadBack Read(const std::string& path) {
  ReadBack dump;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  dump.bytes = text.str();
  std::memcpy(&dump.header, dump.bytes.data(), sizeof(dump.header));
  for (int i = 0; i < dump.header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, dump.bytes.data() + dump.header.e_phoff + i * sizeof(segment),
                sizeof(segment));
    dump.segments.push_back(segment);
  }
  uint64_t at = dump.segments[0].p_offset;
  const uint64_t end = at + dump.segments[0].p_filesz;
  while (at < end) {
    Elf64_Nhdr note;
    std::memcpy(&note, dump.bytes.data() + at, sizeof(note));
    at += sizeof(note);
    const std::string name = dump.bytes.substr(at, note.n_namesz - 1);
    at += (note.n_namesz + 3) / 4 * 4;
    dump.notes.push_back({name, note.n_type, dump.bytes.substr(at, note.n_descsz)});
    at += (note.n_descsz + 3) / 4 * 4;
  }
  return dump;
}

class VmcoreWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/vmcore_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_ = {.directory = directory_ + "/dumps", .name = "stasis-test"};
    content_.prstatus = {std::string(kX86PrStatusBytes, 'a'), std::string(kX86PrStatusBytes, 'b')};
    content_.qemu = {std::string(kX86QemuStateBytes, 'c'), std::string(kX86QemuStateBytes, 'd')};
    content_.vmcoreinfo = "OSRELEASE=6.1\nPAGESIZE=4096\n";
    content_.json = [](const std::string& cut) { return "{\"cut\":\"" + cut + "\"}"; };
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::vector<std::string> FilesIn(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(directory, ignored)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  std::string directory_;
  VmcoreOptions options_;
  VmcoreContent content_;
};

TEST_F(VmcoreWriterTest, D1_EveryRegionIsASegmentAtItsPhysicalAddressAndHeadersStandInFront) {
  auto memory = Memory({{0, 2 * kMiB}, {uint64_t{4} << 30, kMiB}});
  ASSERT_TRUE(memory->Store(GuestAddress(0x1000), uint64_t{0x1122334455667788}));
  ASSERT_TRUE(memory->Store(GuestAddress((uint64_t{4} << 30) + 0xff000), uint32_t{77}));

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  const ReadBack dump = Read(result->path);
  EXPECT_EQ(dump.header.e_type, ET_CORE);
  EXPECT_EQ(dump.header.e_phoff, sizeof(Elf64_Ehdr));
  ASSERT_EQ(dump.segments.size(), 3u);
  EXPECT_EQ(dump.segments[0].p_type, static_cast<uint32_t>(PT_NOTE));
  EXPECT_EQ(dump.segments[1].p_paddr, 0u);
  EXPECT_EQ(dump.segments[1].p_memsz, 2 * kMiB);
  EXPECT_EQ(dump.segments[2].p_paddr, uint64_t{4} << 30);
  EXPECT_EQ(dump.bytes.size(), result->file_bytes);
  uint64_t value = 0;
  std::memcpy(&value, dump.At(0x1000, 8).data(), 8);
  EXPECT_EQ(value, 0x1122334455667788u);
  EXPECT_EQ(dump.At((uint64_t{4} << 30) + 0xff000, 1), "M");
}

TEST_F(VmcoreWriterTest, D1_KernelImageIsASecondViewOfTheSameBytes) {
  auto memory = Memory({{0, 64 * kMiB}});
  constexpr uint64_t kPhysBase = 0x1a00000;
  constexpr uint64_t kText = kX86KernelImageBase + 0x1000000;
  ASSERT_TRUE(memory->Store(GuestAddress(0x1000000 + kPhysBase), uint32_t{0x6c656e72}));
  content_.phys_base = kPhysBase;

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  const ReadBack dump = Read(result->path);
  ASSERT_EQ(dump.segments.size(), 3u);
  const Elf64_Phdr& image = dump.segments[1];
  EXPECT_EQ(image.p_vaddr, kX86KernelImageBase - kPhysBase + image.p_paddr);
  ASSERT_LE(image.p_vaddr, kText);
  EXPECT_EQ(dump.bytes.substr(image.p_offset + (kText - image.p_vaddr), 4), "rnel");
}

TEST_F(VmcoreWriterTest, D1_NegativePhysBaseBeginsWherePhysicalMemoryDoes) {
  auto memory = Memory({{0, 32 * kMiB}});
  content_.phys_base = -uint64_t{0x8000000};

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  const ReadBack dump = Read(result->path);
  ASSERT_EQ(dump.segments.size(), 3u);
  EXPECT_EQ(dump.segments[1].p_paddr, 0u);
  EXPECT_EQ(dump.segments[1].p_vaddr, kX86KernelImageBase + 0x8000000);
}

TEST_F(VmcoreWriterTest, D1_UntouchedAndZeroPagesTakeNoSpace) {
  auto memory = Memory({{0, 256 * kMiB}});
  memset(memory->Slice(GuestAddress(kMiB), 8 * kMiB).data(), 0, 8 * kMiB);  // touched, zero
  memset(memory->Slice(GuestAddress(100 * kMiB), kMiB).data(), 7, kMiB);

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->memory_bytes, kMiB);
  struct stat file = {};
  ASSERT_EQ(stat(result->path.c_str(), &file), 0);
  EXPECT_GE(file.st_size, static_cast<off_t>(256 * kMiB));
  EXPECT_LT(file.st_blocks * 512, static_cast<off_t>(2 * kMiB));
}

TEST_F(VmcoreWriterTest, D2_D3_D4_NotesStandInOrderAndAreVerbatim) {
  auto memory = Memory({{0, kMiB}});

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  const ReadBack dump = Read(result->path);
  std::vector<std::string> names;
  for (const auto& note : dump.notes) names.push_back(note.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"CORE", "CORE", "QEMU", "QEMU", "VMCOREINFO", "STASIS"}));
  EXPECT_EQ(dump.notes[1].type, static_cast<uint32_t>(NT_PRSTATUS));
  EXPECT_EQ(dump.notes[1].content, content_.prstatus[1]);
  EXPECT_EQ(dump.notes[2].content, content_.qemu[0]);
  EXPECT_EQ(dump.notes[4].content, content_.vmcoreinfo);
  EXPECT_EQ(dump.notes[5].type, kStasisNoteJson);
  EXPECT_EQ(dump.notes[5].content.substr(0, 10), "{\"cut\":\"\"}");
  EXPECT_EQ(dump.notes[5].content.find_first_not_of(' ', 10), std::string::npos);
}

TEST_F(VmcoreWriterTest, D7_MemoryBeyondTheLimitIsCutAndTheNoteSaysSo) {
  auto memory = Memory({{0, 64 * kMiB}});
  memset(memory->Slice(GuestAddress(0), 64 * kMiB).data(), 1, 64 * kMiB);
  options_.most_memory_bytes = 16 * kMiB;

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->memory_bytes, 16 * kMiB);
  EXPECT_NE(result->cut.find("0x1000000"), std::string::npos) << result->cut;
  const ReadBack dump = Read(result->path);
  EXPECT_NE(dump.notes.back().content.find("limit of the dump's size"), std::string::npos);
  EXPECT_EQ(dump.bytes.size(), result->file_bytes);
}

TEST_F(VmcoreWriterTest, D7_SoftDeadlineCutsMemory) {
  auto memory = Memory({{0, kMiB}});
  memset(memory->Slice(GuestAddress(0), kMiB).data(), 1, kMiB);
  options_.soft_deadline = absl::ZeroDuration();

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->memory_bytes, 0u);
  EXPECT_NE(result->cut.find("time limit"), std::string::npos) << result->cut;
}

TEST_F(VmcoreWriterTest, D6_ExistingFileIsNotReplaced) {
  auto memory = Memory({{0, kMiB}});
  auto first = WriteVmcore(*memory, content_, options_);
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string before = Read(first->path).bytes;
  ASSERT_TRUE(memory->Store(GuestAddress(0), uint32_t{1}));

  auto second = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(second->path, first->path);
  EXPECT_TRUE(Read(first->path).bytes == before);
  EXPECT_EQ(FilesIn(options_.directory).size(), 2u);
}

TEST_F(VmcoreWriterTest, D6_DirectoryThatCannotBeMadeIsNamed) {
  auto memory = Memory({{0, kMiB}});
  options_.directory = directory_ + "/no/such/parent";

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find(options_.directory), absl::string_view::npos);
  EXPECT_NE(result.status().message().find("--dump-dir"), absl::string_view::npos);
}

TEST_F(VmcoreWriterTest, D6_FileInPlaceOfTheDirectoryIsNamed) {
  auto memory = Memory({{0, kMiB}});
  options_.directory = directory_ + "/file";
  std::ofstream(options_.directory) << "not a directory";

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find(options_.directory), absl::string_view::npos);
}

TEST_F(VmcoreWriterTest, D6_FullDiskLeavesNothingAndSaysHowMuchRoomWasNeeded) {
  const std::string small = directory_ + "/small";
  ASSERT_EQ(mkdir(small.c_str(), 0777), 0);
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", small.c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "may not mount a small file system";
  }
  auto memory = Memory({{0, 64 * kMiB}});
  memset(memory->Slice(GuestAddress(0), 24 * kMiB).data(), 1, 24 * kMiB);
  options_.directory = small;

  auto result = WriteVmcore(*memory, content_, options_);

  const std::vector<std::string> left = FilesIn(small);
  umount(small.c_str());
  ASSERT_FALSE(result.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(result.status())) << result.status();
  EXPECT_NE(result.status().message().find("needs 25 MiB"), absl::string_view::npos)
      << result.status();
  EXPECT_NE(result.status().message().find("room for 4 MiB"), absl::string_view::npos)
      << result.status();
  EXPECT_TRUE(left.empty());
}

TEST_F(VmcoreWriterTest, D6_KilledWhileWritingLeavesNoFileUnderTheFinalName) {
  auto memory = Memory({{0, 512 * kMiB}});
  memset(memory->Slice(GuestAddress(0), 512 * kMiB).data(), 1, 512 * kMiB);

  const pid_t child = fork();
  if (child == 0) {
    WriteVmcore(*memory, content_, options_).IgnoreError();
    _exit(0);
  }
  const std::string part = options_.directory + "/stasis-test.vmcore.part";
  while (access(part.c_str(), F_OK) != 0 && waitpid(child, nullptr, WNOHANG) == 0) usleep(100);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);

  for (const std::string& name : FilesIn(options_.directory)) {
    EXPECT_EQ(fs::path(name).extension(), kTemporarySuffix) << name;
  }
}

TEST_F(VmcoreWriterTest, D6_LeftoversOfKilledWritersAreRemovedByTheNextOnceTheyAreOld) {
  auto memory = Memory({{0, kMiB}});
  fs::create_directories(options_.directory);
  const std::string old = options_.directory + "/stasis-1.vmcore.part";
  const std::string young = options_.directory + "/stasis-2.vmcore.part";
  const std::string other = options_.directory + "/other.part";
  for (const std::string& path : {old, young, other}) std::ofstream(path) << "half";
  for (const std::string& path : {old, other}) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(2));
  }

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->leftovers, std::vector<std::string>{old});
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(young)) << "its writer may be at work";
  EXPECT_TRUE(fs::exists(other)) << "not ours";
}

// Long runs go past the page cache and short ones through it, in any order, side by side.
TEST_F(VmcoreWriterTest, D1_LongAndShortRunsOfPagesComeBackAsTheyWere) {
  auto memory = Memory({{0, 16 * kMiB}});
  uint8_t* bytes = memory->Slice(GuestAddress(0), 16 * kMiB).data();
  uint32_t seed = 1;
  for (uint64_t page = 0; page < 16 * kMiB / kPageBytes;) {
    const uint64_t run = 1 + (seed = seed * 1664525 + 1013904223) % 400;
    const bool hole = seed >> 31;
    for (uint64_t i = 0; i < run && page < 16 * kMiB / kPageBytes; ++i, ++page) {
      if (!hole) memset(bytes + page * kPageBytes, 1 + page % 255, kPageBytes);
    }
  }

  auto result = WriteVmcore(*memory, content_, options_);

  ASSERT_TRUE(result.ok()) << result.status();
  std::ifstream file(result->path, std::ios::binary);
  std::string read(16 * kMiB, 0);
  file.seekg(static_cast<std::streamoff>(result->file_bytes - 16 * kMiB));
  file.read(read.data(), static_cast<std::streamsize>(read.size()));
  EXPECT_EQ(file.gcount(), static_cast<std::streamsize>(16 * kMiB));
  EXPECT_EQ(memcmp(read.data(), bytes, read.size()), 0);
}

TEST(TouchedPagesTest, RunsAreThoseThatWereWritten) {
  auto memory = Memory({{0, 64 * kMiB}});
  memset(memory->Slice(GuestAddress(3 * kPageBytes), 2 * kPageBytes).data(), 1, 2 * kPageBytes);
  memset(memory->Slice(GuestAddress(9 * kPageBytes), 1).data(), 1, 1);
  std::vector<std::pair<uint64_t, uint64_t>> runs;

  ForEachTouchedRun(memory->regions()[0], [&](uint64_t offset, uint64_t length) {
    runs.emplace_back(offset / kPageBytes, length / kPageBytes);
    return true;
  });

  EXPECT_EQ(runs, (std::vector<std::pair<uint64_t, uint64_t>>{{3, 2}, {9, 1}}));
}

TEST(TouchedPagesTest, ZeroMeansEveryByte) {
  std::vector<uint8_t> page(kPageBytes, 0);

  EXPECT_TRUE(IsZero(page.data(), page.size()));
  for (size_t at : {size_t{0}, size_t{63}, size_t{64}, size_t{2000}, page.size() - 1}) {
    page[at] = 1;
    EXPECT_FALSE(IsZero(page.data(), page.size())) << at;
    page[at] = 0;
  }
}

}  // namespace
}  // namespace stasis::dump
