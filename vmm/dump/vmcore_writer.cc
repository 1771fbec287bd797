#include "vmm/dump/vmcore_writer.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "vmm/base/file_descriptor.h"
#include "vmm/dump/format.h"
#include "vmm/dump/touched_pages.h"

namespace stasis::dump {
namespace {

constexpr uint64_t kMostPerWrite = uint64_t{1} << 20;
// From here on a piece goes to the disk without a copy in the page cache (docs/benchmarks.md); below,
// the wait for the disk costs more than the copy.
constexpr uint64_t kLeastDirect = uint64_t{128} << 10;
constexpr int kMostNames = 1000;

absl::Time MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

uint64_t RoundUp(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

void AppendNote(absl::string_view name, uint32_t type, absl::string_view content,
                std::string* notes) {
  const Elf64_Nhdr header = {.n_namesz = static_cast<Elf64_Word>(name.size() + 1),
                             .n_descsz = static_cast<Elf64_Word>(content.size()),
                             .n_type = type};
  notes->append(reinterpret_cast<const char*>(&header), sizeof(header));
  absl::StrAppend(notes, name);
  notes->resize(RoundUp(notes->size() + 1, 4));
  absl::StrAppend(notes, content);
  notes->resize(RoundUp(notes->size(), 4));
}

// A program header for memory: which bytes of which region.
struct Segment {
  size_t region = 0;
  uint64_t offset = 0;  // into the region
  uint64_t size = 0;
  uint64_t virtual_address = 0;
};

std::vector<Segment> Segments(const GuestMemory& memory, std::optional<uint64_t> phys_base) {
  std::vector<Segment> segments;
  const std::vector<MemoryRegion>& regions = memory.regions();
  if (phys_base.has_value()) {
    // With KASLR the base may be below zero: the mapping then begins where physical memory does.
    const int64_t base = static_cast<int64_t>(*phys_base);
    const uint64_t begin = base < 0 ? 0 : base;
    const uint64_t end = base + static_cast<int64_t>(kX86KernelImageMostBytes) < 0
                             ? 0
                             : base + kX86KernelImageMostBytes;
    for (size_t i = 0; i < regions.size(); ++i) {
      const uint64_t from = std::max(begin, regions[i].base.value());
      const uint64_t to = std::min(end, regions[i].base.value() + regions[i].size);
      if (from % kPageBytes != 0 || from >= to) continue;
      segments.push_back({.region = i,
                          .offset = from - regions[i].base.value(),
                          .size = to - from,
                          .virtual_address = kX86KernelImageBase - *phys_base + from});
    }
  }
  for (size_t i = 0; i < regions.size(); ++i)
    segments.push_back({.region = i, .size = regions[i].size});
  return segments;
}

class VmcoreFile {
 public:
  VmcoreFile(const GuestMemory& memory, const VmcoreContent& content, const VmcoreOptions& options)
      : memory_(memory), content_(content), options_(options), begun_(MonotonicNow()) {}

  absl::StatusOr<VmcoreResult> Write() {
    absl::Status status = Create();
    if (!status.ok()) return status;
    absl::Cleanup remove = [this] { unlink(temporary_.c_str()); };
    LayOut();
    status = WriteFront("");
    for (size_t i = 0; i < memory_.regions().size() && status.ok(); ++i) status = WriteRegion(i);
    if (status.ok() && !result_.cut.empty()) status = WriteFront(result_.cut);
    // The end of the last region may be a hole.
    if (status.ok() && ftruncate(fd_.get(), result_.file_bytes) != 0) status = Failed("ftruncate");
    if (status.ok() && fsync(fd_.get()) != 0) status = Failed("sync");
    if (status.ok()) status = Install();
    if (!status.ok()) return status;
    std::move(remove).Cancel();
    result_.duration = MonotonicNow() - begun_;
    return std::move(result_);
  }

 private:
  std::string PathOf(int number) const {
    return absl::StrCat(options_.directory, "/", options_.name,
                        number == 0 ? "" : absl::StrCat("-", number), kExtension);
  }

  absl::Status Create() {
    if (mkdir(options_.directory.c_str(), 0777) != 0 && errno != EEXIST) {
      return absl::ErrnoToStatus(errno,
                                 absl::StrCat("dump: create directory ", options_.directory,
                                              "; give one that can be written with --dump-dir"));
    }
    RemoveLeftovers();
    for (; number_ < kMostNames; ++number_) {
      temporary_ = absl::StrCat(PathOf(number_), kTemporarySuffix);
      fd_ = FileDescriptor(open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (fd_.valid()) {
        // Not every file system can; then all goes through the page cache.
        direct_ = FileDescriptor(open(temporary_.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC));
        return absl::OkStatus();
      }
      if (errno != EEXIST) break;  // another process is writing a dump of the same name
    }
    return absl::ErrnoToStatus(
        errno, absl::StrCat("dump: create ", temporary_, "; give a writable --dump-dir"));
  }

  void RemoveLeftovers() {
    std::error_code error;
    const std::string ending = absl::StrCat(kExtension, kTemporarySuffix);
    std::vector<std::string> old;
    for (std::filesystem::directory_iterator it(options_.directory, error), end;
         !error && it != end; it.increment(error)) {
      const std::string path = it->path().string();
      struct stat file = {};
      if (absl::EndsWith(path, ending) && lstat(path.c_str(), &file) == 0 &&
          S_ISREG(file.st_mode) && absl::Now() - absl::TimeFromTimespec(file.st_mtim) > kLeftoverAge) {
        old.push_back(path);
      }
    }
    for (const std::string& path : old) {
      if (unlink(path.c_str()) == 0) result_.leftovers.push_back(path);
    }
  }

  // Notes are laid out with room for the JSON of a cut dump, so that memory can follow at once.
  std::string Notes(const std::string& cut) {
    std::string notes;
    for (const std::string& status : content_.prstatus) {
      AppendNote(kCoreNoteName, NT_PRSTATUS, status, &notes);
    }
    for (const std::string& state : content_.qemu) {
      AppendNote(kQemuNoteName, kQemuNoteType, state, &notes);
    }
    if (!content_.vmcoreinfo.empty()) {
      AppendNote(kVmcoreInfoNoteName, kVmcoreInfoNoteType, content_.vmcoreinfo, &notes);
    }
    std::string json = content_.json ? content_.json(cut) : "{}";
    if (json_bytes_ == 0) json_bytes_ = json.size() + kMostCutBytes;
    json.resize(json_bytes_, ' ');
    AppendNote(kStasisNoteName, kStasisNoteJson, json, &notes);
    return notes;
  }

  void LayOut() {
    segments_ = Segments(memory_, content_.phys_base);
    notes_at_ = sizeof(Elf64_Ehdr) + (1 + segments_.size()) * sizeof(Elf64_Phdr);
    notes_ = Notes("");
    uint64_t at = RoundUp(notes_at_ + notes_.size(), kPageBytes);
    for (const MemoryRegion& region : memory_.regions()) {
      region_at_.push_back(at);
      at += region.size;
    }
    result_.file_bytes = at;
  }

  absl::Status WriteFront(const std::string& cut) {
    if (!cut.empty()) notes_ = Notes(cut);
    Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                                     EV_CURRENT, ELFOSABI_NONE},
                         .e_type = ET_CORE,
                         .e_machine = EM_X86_64,
                         .e_version = EV_CURRENT,
                         .e_phoff = sizeof(Elf64_Ehdr),
                         .e_ehsize = sizeof(Elf64_Ehdr),
                         .e_phentsize = sizeof(Elf64_Phdr),
                         .e_phnum = static_cast<Elf64_Half>(1 + segments_.size())};
    std::string front(reinterpret_cast<const char*>(&header), sizeof(header));
    const Elf64_Phdr note = {.p_type = PT_NOTE,
                             .p_offset = notes_at_,
                             .p_filesz = notes_.size(),
                             .p_memsz = notes_.size()};
    front.append(reinterpret_cast<const char*>(&note), sizeof(note));
    for (const Segment& segment : segments_) {
      const Elf64_Phdr load = {
          .p_type = PT_LOAD,
          .p_flags = PF_R | PF_W | PF_X,
          .p_offset = region_at_[segment.region] + segment.offset,
          .p_vaddr = segment.virtual_address,
          .p_paddr = memory_.regions()[segment.region].base.value() + segment.offset,
          .p_filesz = segment.size,
          .p_memsz = segment.size};
      front.append(reinterpret_cast<const char*>(&load), sizeof(load));
    }
    front += notes_;
    return Put(reinterpret_cast<const uint8_t*>(front.data()), front.size(), 0);
  }

  absl::Status WriteRegion(size_t index) {
    const MemoryRegion& region = memory_.regions()[index];
    absl::Status status;
    ForEachTouchedRun(region, [&](uint64_t offset, uint64_t length) {
      status = WriteRun(region, region_at_[index], offset, length);
      return status.ok() && result_.cut.empty();
    });
    return status;
  }

  // Pages of zeroes become holes.
  absl::Status WriteRun(const MemoryRegion& region, uint64_t region_at, uint64_t offset,
                        uint64_t length) {
    const uint64_t end = offset + length;
    while (offset < end) {
      if (IsZero(region.host + offset, kPageBytes)) {
        offset += kPageBytes;
        continue;
      }
      uint64_t last = offset + kPageBytes;
      while (last < end && last - offset < kMostPerWrite &&
             !IsZero(region.host + last, kPageBytes)) {
        last += kPageBytes;
      }
      if (MustCut(region, offset)) return absl::OkStatus();
      absl::Status status = PutPages(region.host + offset, last - offset, region_at + offset);
      if (!status.ok()) return status;
      result_.memory_bytes += last - offset;
      offset = last;
    }
    return absl::OkStatus();
  }

  // D7.
  bool MustCut(const MemoryRegion& region, uint64_t offset) {
    if (!result_.cut.empty()) return true;
    const char* why = nullptr;
    if (result_.memory_bytes >= options_.most_memory_bytes) why = "the limit of the dump's size";
    if (MonotonicNow() - begun_ >= options_.soft_deadline) why = "the dump's time limit";
    if (why == nullptr) return false;
    result_.cut = absl::StrFormat("memory from %#x on was cut: %s was reached after %d MiB",
                                  region.base.value() + offset, why, result_.memory_bytes >> 20);
    return true;
  }

  // Whole pages, in memory and in the file. The page cache never holds a page that is written here.
  absl::Status PutPages(const uint8_t* data, uint64_t length, uint64_t at) {
    while (direct_.valid() && length >= kLeastDirect) {
      const ssize_t put = pwrite(direct_.get(), data, length, at);
      if (put < 0 && errno == EINTR) continue;
      // An odd length would leave the next piece unaligned; other errors are Put's to tell.
      if (put <= 0 || put % kPageBytes != 0) {
        direct_ = FileDescriptor();
        break;
      }
      data += put;
      at += put;
      length -= put;
    }
    return Put(data, length, at);
  }

  absl::Status Put(const uint8_t* data, uint64_t length, uint64_t at) {
    while (length > 0) {
      const ssize_t put = pwrite(fd_.get(), data, length, at);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) {
        if (put == 0) errno = ENOSPC;
        return Failed("write");
      }
      data += put;
      at += put;
      length -= put;
    }
    return absl::OkStatus();
  }

  absl::Status Failed(const char* what) {
    const int error = errno;
    if (error != ENOSPC && error != EDQUOT && error != EFBIG) {
      return absl::ErrnoToStatus(error, absl::StrCat("dump: ", what, " ", temporary_));
    }
    struct statvfs space = {};
    struct stat file = {};
    fstatvfs(fd_.get(), &space);
    fstat(fd_.get(), &file);
    const uint64_t room =
        uint64_t{space.f_bavail} * space.f_frsize + uint64_t{512} * file.st_blocks;
    return absl::ResourceExhaustedError(absl::StrFormat(
        "dump: %s %s: %s; it needs %d MiB and there is room for %d MiB; make room, or give another "
        "--dump-dir",
        what, temporary_, strerror(error), NeededBytes() >> 20, room >> 20));
  }

  // What a whole dump takes on the disk.
  uint64_t NeededBytes() const {
    uint64_t bytes = notes_at_ + notes_.size();
    for (const MemoryRegion& region : memory_.regions()) {
      ForEachTouchedRun(region, [&](uint64_t offset, uint64_t length) {
        for (uint64_t at = offset; at < offset + length; at += kPageBytes) {
          if (!IsZero(region.host + at, kPageBytes)) bytes += kPageBytes;
        }
        return true;
      });
    }
    return RoundUp(bytes, uint64_t{1} << 20);
  }

  // Gives the file its final name, which nobody has yet.
  absl::Status Install() {
    for (; number_ < kMostNames; ++number_) {
      result_.path = PathOf(number_);
      if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, result_.path.c_str(),
                    RENAME_NOREPLACE) == 0) {
        return SyncDirectory();
      }
      if (errno == EEXIST) continue;
      if (errno != EINVAL && errno != ENOSYS) break;
      // A file system without RENAME_NOREPLACE (9p): link does not replace either.
      if (link(temporary_.c_str(), result_.path.c_str()) == 0) {
        unlink(temporary_.c_str());
        return SyncDirectory();
      }
      if (errno != EEXIST) break;
    }
    return absl::ErrnoToStatus(errno,
                               absl::StrCat("dump: rename ", temporary_, " to ", result_.path));
  }

  absl::Status SyncDirectory() const {
    const FileDescriptor directory(
        open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // A file system that cannot sync a directory (EINVAL) needs no sync of it.
    if (directory.valid() && fsync(directory.get()) != 0 && errno != EINVAL) {
      return absl::ErrnoToStatus(errno, absl::StrCat("dump: sync ", options_.directory));
    }
    return absl::OkStatus();
  }

  const GuestMemory& memory_;
  const VmcoreContent& content_;
  const VmcoreOptions& options_;
  const absl::Time begun_;
  VmcoreResult result_;
  int number_ = 0;  // behind the name, for a name that is taken
  std::string temporary_;
  FileDescriptor fd_;
  FileDescriptor direct_;  // the same file, past the page cache
  std::vector<Segment> segments_;
  uint64_t notes_at_ = 0;
  std::string notes_;
  size_t json_bytes_ = 0;
  std::vector<uint64_t> region_at_;  // in the file
};

}  // namespace

absl::StatusOr<VmcoreResult> WriteVmcore(const GuestMemory& memory, const VmcoreContent& content,
                                         const VmcoreOptions& options) {
  return VmcoreFile(memory, content, options).Write();
}

}  // namespace stasis::dump
