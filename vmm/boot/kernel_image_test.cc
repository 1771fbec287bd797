#include "vmm/boot/kernel_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

using testing::Bytes;
using testing::BzImageSpec;
using testing::ElfSpec;
using ::testing::HasSubstr;
using testing::MakeBzImage;
using testing::MakeElf;
using testing::TemporaryDirectory;

std::string Message(const absl::StatusOr<KernelImage>& image) {
  return std::string(image.status().message());
}

// Loads bytes as a file of its own; gives the error's text, or "ok".
std::string LoadText(const Bytes& bytes) {
  TemporaryDirectory directory;
  auto image = KernelImage::Load(directory.Write("vmlinuz", bytes), {});
  return image.ok() ? "ok" : Message(image);
}
std::string LoadText(const std::string& text) { return LoadText(Bytes(text.begin(), text.end())); }

TEST(KernelImageTest, ElfGivesItsSegmentsEntryReleaseAndPvhNote) {
  TemporaryDirectory directory;
  auto image = KernelImage::Load(directory.Write("vmlinux", MakeElf({})), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->kind(), KernelKind::kElf);
  EXPECT_EQ(image->compression(), Compression::kNone);
  EXPECT_EQ(image->entry(), GuestAddress(0x1000040));
  ASSERT_EQ(image->segments().size(), 1u);
  EXPECT_EQ(image->load_begin(), GuestAddress(0x1000000));
  EXPECT_EQ(image->load_end() - image->load_begin(), image->segments()[0].bytes.size() + 0x3000);
  EXPECT_EQ(image->release(), "6.12.0-test");
  EXPECT_EQ(image->pvh_entry(), 0x1000100u);
  EXPECT_EQ(image->header().cmdline_size, 2047u);
}

TEST(KernelImageTest, AVirtualEntryPointIsTranslated) {
  Bytes elf = MakeElf({});
  Elf64_Ehdr header;
  memcpy(&header, elf.data(), sizeof(header));
  header.e_entry += 0xffffffff80000000;
  memcpy(elf.data(), &header, sizeof(header));
  TemporaryDirectory directory;
  auto image = KernelImage::Load(directory.Write("vmlinux", elf), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->entry(), GuestAddress(0x1000040));
}

class EveryPayload : public ::testing::TestWithParam<Compression> {};

TEST_P(EveryPayload, IsUnpackedIntoTheVmlinuxInIt) {
  TemporaryDirectory directory;
  const Bytes elf = MakeElf({.release = "6.12.0-payload"});
  const BzImageSpec spec = {.compression = GetParam(), .release = "6.12.0-header"};
  auto image = KernelImage::Load(directory.Write("vmlinuz", MakeBzImage(spec, elf)), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->kind(), KernelKind::kBzImage);
  EXPECT_EQ(image->compression(), GetParam());
  EXPECT_FALSE(image->decompressed_by_guest());
  EXPECT_EQ(image->release(), "6.12.0-header");
  EXPECT_EQ(image->entry(), GuestAddress(0x1000040));
  const auto code = absl::MakeConstSpan(elf).subspan(testing::kElfSegmentOffset);
  EXPECT_EQ(image->segments()[0].bytes, code);
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryPayload,
                         ::testing::Values(Compression::kNone, Compression::kGzip, Compression::kXz,
                                           Compression::kLz4, Compression::kZstd,
                                           Compression::kBzip2, Compression::kLzma),
                         [](const auto& info) { return CompressionName(info.param); });

TEST(KernelImageTest, RelocationsBehindTheElfInThePayloadAreIgnored) {
  Bytes elf = MakeElf({});
  elf.insert(elf.end(), 1000, 0xaa);
  EXPECT_EQ(LoadText(MakeBzImage({}, elf)), "ok");
}

TEST(KernelImageTest, AllIsStillThereAfterPagesWereDropped) {
  TemporaryDirectory directory;
  const Bytes elf = MakeElf({});
  const auto code = absl::MakeConstSpan(elf).subspan(testing::kElfSegmentOffset);
  auto mapped = KernelImage::Load(directory.Write("vmlinux", elf), {});
  auto unpacked = KernelImage::Load(directory.Write("vmlinuz", MakeBzImage({}, elf)), {});
  ASSERT_TRUE(mapped.ok() && unpacked.ok());
  mapped->DropPages();
  unpacked->DropPages();  // without a cache the payload is nowhere but in memory
  EXPECT_EQ(mapped->segments()[0].bytes, code);
  EXPECT_EQ(unpacked->segments()[0].bytes, code);
}

TEST(KernelImageTest, CopyGivesTheSegmentsBytesFromAFileAndFromMemory) {
  TemporaryDirectory directory;
  const Bytes elf = MakeElf({});
  const auto code = absl::MakeConstSpan(elf).subspan(testing::kElfSegmentOffset);
  auto mapped = KernelImage::Load(directory.Write("vmlinux", elf), {});
  auto unpacked = KernelImage::Load(directory.Write("vmlinuz", MakeBzImage({}, elf)), {});
  ASSERT_TRUE(mapped.ok() && unpacked.ok());
  Bytes from_file(code.size() - 1), from_memory(code.size() - 1);

  mapped->Copy(mapped->segments()[0].bytes.subspan(1), from_file.data());
  unpacked->Copy(unpacked->segments()[0].bytes.subspan(1), from_memory.data());

  EXPECT_EQ(absl::MakeConstSpan(from_file), code.subspan(1));
  EXPECT_EQ(absl::MakeConstSpan(from_memory), code.subspan(1));
}

TEST(KernelImageTest, LoadAsBzImageKeepsTheCodeForTheGuestToUnpack) {
  TemporaryDirectory directory;
  const Bytes bytes = MakeBzImage({}, MakeElf({}));
  auto image = KernelImage::Load(directory.Write("vmlinuz", bytes), {.load_as_bzimage = true});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_TRUE(image->decompressed_by_guest());
  EXPECT_EQ(image->load_begin(), GuestAddress(0x1000000));
  EXPECT_EQ(image->entry(), GuestAddress(0x1000200));
  EXPECT_EQ(image->init_size(), 0x800000u);
  EXPECT_EQ(image->segments()[0].bytes, absl::MakeConstSpan(bytes).subspan(4 * 512));
}

TEST(KernelImageTest, AnEmbeddedConfigurationIsFound) {
  TemporaryDirectory directory;
  const Bytes elf = MakeElf({.config = "CONFIG_OF=y\nCONFIG_IKCONFIG=y\n"});
  auto image = KernelImage::Load(directory.Write("vmlinuz", MakeBzImage({}, elf)), {});
  ASSERT_TRUE(image.ok()) << image.status();
  ASSERT_NE(image->config(), nullptr);
  EXPECT_TRUE(image->config()->IsBuiltIn("CONFIG_OF"));
  EXPECT_THAT(image->config()->origin(), HasSubstr("IKCONFIG of "));
}

TEST(KernelImageTest, AnEmbeddedConfigurationWinsOverAnEditedOneBesideIt) {
  TemporaryDirectory directory;
  directory.Write(".config", std::string("CONFIG_IKCONFIG=y\nCONFIG_OF=m\n"));
  const Bytes elf = MakeElf({.config = "CONFIG_IKCONFIG=y\nCONFIG_OF=y\n"});
  auto image = KernelImage::Load(directory.Write("vmlinux", elf), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->config()->Lookup("CONFIG_OF"), "y");
}

TEST(KernelImageTest, TheConfigurationBesideItIsFoundAsBootAndBuildTreesHaveIt) {
  const Bytes bytes = MakeBzImage({}, MakeElf({}));
  struct {
    const char* image;
    const char* config;
  } const cases[] = {{"vmlinuz", "config"},
                     {"vmlinux", ".config"},
                     {"boot/vmlinuz-6.12.0-other", "boot/config-6.12.0-other"},
                     {"boot/kernel", "boot/config-6.12.0-test"},
                     {"tree/arch/x86/boot/bzImage", "tree/.config"}};
  for (const auto& test : cases) {
    TemporaryDirectory directory;
    directory.Write(test.config, std::string("CONFIG_ACPI=y\n"));
    auto image = KernelImage::Load(directory.Write(test.image, bytes), {});
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_NE(image->config(), nullptr) << test.config;
    EXPECT_TRUE(image->config()->IsBuiltIn("CONFIG_ACPI"));
  }
}

TEST(KernelImageTest, NoConfigurationAnywhereIsNull) {
  TemporaryDirectory directory;
  auto image = KernelImage::Load(directory.Write("vmlinuz", MakeBzImage({}, MakeElf({}))), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->config(), nullptr);
}

TEST(KernelImageTest, AMissingFileSaysSoWithItsPath) {
  auto image = KernelImage::Load("/nowhere/vmlinuz", {});
  EXPECT_EQ(image.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(image), HasSubstr("kernel /nowhere/vmlinuz: open"));
  EXPECT_THAT(Message(image), HasSubstr("No such file"));
}

TEST(KernelImageTest, AnUnreadableFileSaysSo) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads everything";
  TemporaryDirectory directory;
  const std::string path = directory.Write("vmlinuz", MakeElf({}));
  chmod(path.c_str(), 0);
  EXPECT_EQ(KernelImage::Load(path, {}).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST(KernelImageTest, ADirectoryAndADeviceAreNoKernels) {
  TemporaryDirectory directory;
  EXPECT_THAT(Message(KernelImage::Load(directory.path(), {})), HasSubstr("a directory"));
  EXPECT_THAT(Message(KernelImage::Load("/dev/null", {})), HasSubstr("not a regular file"));
}

TEST(KernelImageTest, WhatIsNoKernelIsNamed) {
  EXPECT_THAT(LoadText(""), HasSubstr("not a kernel image: an empty file"));
  EXPECT_THAT(LoadText("#!/bin/sh\nexit 0\n"), HasSubstr("not a kernel image: a script"));
  EXPECT_THAT(LoadText("070701000"), HasSubstr("initramfs"));
  EXPECT_THAT(LoadText("!<arch>\ndebian-binary"), HasSubstr("Debian package"));
  EXPECT_THAT(LoadText("hello, world\n"), HasSubstr("a text file"));
  EXPECT_THAT(LoadText(std::string("\x01\x02\x03\x04", 4)), HasSubstr("unknown kind"));
  EXPECT_THAT(LoadText(testing::Pack(Compression::kGzip, MakeElf({}))), HasSubstr("a gzip file"));
  EXPECT_THAT(LoadText(testing::Pack(Compression::kXz, MakeElf({}))), HasSubstr("a xz file"));
}

TEST(KernelImageTest, AnArm64ImageIsTheWrongArchitecture) {
  Bytes image(4096);
  memcpy(&image[56], "ARM\x64", 4);
  EXPECT_THAT(LoadText(image), HasSubstr("arm64 kernel image (wrong architecture"));
}

TEST(KernelImageTest, AnElfFileThatIsNoX86KernelIsNamed) {
  const auto with = [](auto change) {
    Bytes elf = MakeElf({});
    Elf64_Ehdr header;
    memcpy(&header, elf.data(), sizeof(header));
    change(header);
    memcpy(elf.data(), &header, sizeof(header));
    return LoadText(elf);
  };
  EXPECT_THAT(with([](auto& h) { h.e_machine = EM_AARCH64; }), HasSubstr("for arm64"));
  EXPECT_THAT(with([](auto& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }), HasSubstr("64-bit"));
  EXPECT_THAT(with([](auto& h) { h.e_type = ET_REL; }), HasSubstr("relocatable"));
  EXPECT_THAT(with([](auto& h) { h.e_type = ET_CORE; }), HasSubstr("core dump"));
  EXPECT_THAT(with([](auto& h) { h.e_entry = 0x10; }), HasSubstr("entry point 0x10"));
  EXPECT_THAT(with([](auto& h) { h.e_phnum = 0; }), HasSubstr("0 program headers"));
}

TEST(KernelImageTest, AProgramForUserSpaceIsNoKernel) {
  auto image = KernelImage::Load("/proc/self/exe", {});
  EXPECT_THAT(Message(image), HasSubstr("an ELF program for user space"));
}

TEST(KernelImageTest, SegmentsThatOverlapOrLeaveMemoryAreRefused) {
  const auto with = [](auto change) {
    Bytes elf = MakeElf({});
    Elf64_Phdr headers[2];
    memcpy(headers, elf.data() + sizeof(Elf64_Ehdr), sizeof(headers));
    change(headers);
    memcpy(elf.data() + sizeof(Elf64_Ehdr), headers, sizeof(headers));
    return LoadText(elf);
  };
  EXPECT_THAT(with([](Elf64_Phdr* h) { h[0].p_paddr = ~uint64_t{0} - 5; }), HasSubstr("4 GiB"));
  EXPECT_THAT(with([](Elf64_Phdr* h) { h[0].p_offset = ~uint64_t{0} - 5; }),
              HasSubstr("truncated"));
  EXPECT_THAT(with([](Elf64_Phdr* h) { h[0].p_filesz = h[0].p_memsz + 1; }),
              HasSubstr("in memory"));
  EXPECT_THAT(with([](Elf64_Phdr* h) { h[1] = h[0]; }), HasSubstr("overlap"));
  EXPECT_THAT(with([](Elf64_Phdr* h) { h[0].p_type = PT_NULL; }), HasSubstr("nothing to load"));
}

TEST(KernelImageTest, ABzImageOfTheWrongKindIsNamed) {
  const auto with = [](auto change) {
    Bytes image = MakeBzImage({}, MakeElf({}));
    testing::EditSetupHeader(image, change);
    return LoadText(image);
  };
  EXPECT_THAT(with([](auto& h) { h.version = 0x020b; }),
              HasSubstr("kernel too old: boot protocol 2.11, needed is 2.12"));
  EXPECT_THAT(with([](auto& h) { h.xloadflags = 0; }), HasSubstr("32-bit x86 kernel"));
  EXPECT_THAT(with([](auto& h) { h.loadflags = 0; }), HasSubstr("zImage"));
  EXPECT_THAT(with([](auto& h) { h.payload_offset = 0x7fffffff; }), HasSubstr("payload at"));
  EXPECT_THAT(with([](auto& h) { h.payload_length = ~0u; }), HasSubstr("payload at"));
  EXPECT_THAT(with([](auto& h) { h.payload_length = 0; }), HasSubstr("payload at"));
  EXPECT_THAT(with([](auto& h) { h.syssize = ~0u; }), HasSubstr("truncated bzImage"));
}

TEST(KernelImageTest, ATruncatedBzImageSaysHowMuchIsThereAndExpected) {
  Bytes image = MakeBzImage({}, MakeElf({}));
  const size_t whole = image.size();
  image.resize(whole - 100);
  EXPECT_THAT(LoadText(image), HasSubstr("truncated bzImage: " + std::to_string(whole - 100) +
                                         " bytes, at least " + std::to_string(whole)));
}

TEST(KernelImageTest, APayloadThatClaimsNonsenseOrIsNoKernelIsRefused) {
  Bytes huge = MakeBzImage({.compression = Compression::kLz4}, MakeElf({}));
  testing::EditSetupHeader(huge, [&](auto& h) {
    const size_t size_at = 4 * 512 + h.payload_offset + h.payload_length - 4;
    memset(&huge[size_at], 0xff, 4);
  });
  EXPECT_THAT(LoadText(huge), HasSubstr("claims to unpack to 4294967295 bytes"));
  EXPECT_THAT(LoadText(MakeBzImage({}, Bytes(5000, 'x'))), HasSubstr("payload: "));
}

TEST(KernelImageTest, EveryErrorIsOneLine) {
  for (const Bytes& bytes : {Bytes(), Bytes(100, 0), Bytes(1000, '\n'), Bytes(5000, 0x55)}) {
    EXPECT_EQ(LoadText(bytes).find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace stasis
