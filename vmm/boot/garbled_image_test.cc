// Images cut or changed at every place that matters: none may crash the loader, and a cut one is
// never taken for whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/elf_image.h"
#include "vmm/boot/identify.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

using testing::Bytes;
using testing::MakeBzImage;
using testing::MakeElf;

// The bytes at the very end of a mapping, so that the sanitizers see an access beyond them.
absl::StatusOr<ElfImage> ParseElf(absl::Span<const uint8_t> bytes) {
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), copy.get());
  auto image = ParseElfKernel({copy.get(), bytes.size()});
  if (!image.ok()) return image;
  for (LoadSegment& segment : image->segments) {  // touch what the loader would copy
    volatile uint8_t sink = 0;
    for (uint8_t byte : segment.bytes) sink = byte;
    (void)sink;
    segment.bytes = {};
  }
  return image;
}

absl::Status LoadBzImage(absl::Span<const uint8_t> bytes) {
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), copy.get());
  auto image = ParseBzImage({copy.get(), bytes.size()});
  if (!image.ok()) return image.status();
  auto unpacked = UnpackPayload(*image);
  if (!unpacked.ok()) return unpacked.status();
  return ParseElfKernel(unpacked->bytes()).status();
}

TEST(GarbledElfTest, CutAtEveryByteOfTheHeadersIsAnError) {
  const Bytes elf = MakeElf({});
  for (size_t cut = 0; cut < 512; ++cut) {
    ASSERT_FALSE(ParseElf(absl::MakeConstSpan(elf).first(cut)).ok()) << cut;
  }
}

TEST(GarbledElfTest, CutAnywhereInTheSegmentIsAnError) {
  const Bytes elf = MakeElf({});
  for (size_t cut = testing::kElfSegmentOffset; cut < elf.size(); ++cut) {
    ASSERT_FALSE(ParseElf(absl::MakeConstSpan(elf).first(cut)).ok()) << cut;
  }
  EXPECT_TRUE(ParseElf(elf).ok());
}

TEST(GarbledElfTest, EveryHeaderByteWithEveryExtremeValueIsSurvived) {
  const Bytes elf = MakeElf({.config = "CONFIG_SMP=y\n"});
  for (size_t at = 0; at < sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr); ++at) {
    for (uint8_t value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      Bytes garbled = elf;
      garbled[at] = value;
      const auto image = ParseElf(garbled);
      EXPECT_EQ(image.ok(), image.status().message().empty());
    }
  }
}

TEST(GarbledElfTest, NotesOfAnyLengthAreSurvived) {
  const Bytes elf = MakeElf({});
  const size_t note = elf.size() - sizeof(Elf64_Nhdr) - 8;
  for (uint32_t length : {0u, 1u, 3u, 5u, 0x100u, 0x7fffffffu, 0xfffffffcu, 0xffffffffu}) {
    for (size_t field : {0, 4}) {
      Bytes garbled = elf;
      memcpy(&garbled[note + field], &length, sizeof(length));
      EXPECT_TRUE(ParseElf(garbled).ok());
    }
  }
}

TEST(GarbledBzImageTest, CutAtEveryByteIsAnError) {
  const Bytes image = MakeBzImage({}, MakeElf({}));
  // The image is padded to 16 bytes and syssize counts those: the last 15 may be missing.
  for (size_t cut = 0; cut + 15 < image.size(); ++cut) {
    ASSERT_FALSE(LoadBzImage(absl::MakeConstSpan(image).first(cut)).ok()) << cut;
  }
  EXPECT_TRUE(LoadBzImage(image).ok());
}

TEST(GarbledBzImageTest, EverySetupHeaderByteWithEveryExtremeValueIsSurvived) {
  const Bytes image = MakeBzImage({}, MakeElf({}));
  for (size_t at = testing::kSetupHeaderOffset;
       at < testing::kSetupHeaderOffset + sizeof(setup_header); ++at) {
    for (uint8_t value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      Bytes garbled = image;
      garbled[at] = value;
      const auto status = LoadBzImage(garbled);
      EXPECT_EQ(status.ok(), status.message().empty());
    }
  }
}

TEST(GarbledBzImageTest, AVersionStringThatNeverEndsStaysInsideTheSetupCode) {
  Bytes image = MakeBzImage({}, MakeElf({}));
  testing::EditSetupHeader(image, [](setup_header& header) { header.kernel_version = 0x200; });
  std::fill(image.begin() + 0x400, image.begin() + 4 * 512, 'x');
  auto parsed = ParseBzImage(image);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->release.size(), 4u * 512 - 0x400);
}

TEST(GarbledBzImageTest, AVersionStringOutsideOfTheSetupCodeIsIgnored) {
  Bytes image = MakeBzImage({}, MakeElf({}));
  testing::EditSetupHeader(image, [](setup_header& header) { header.kernel_version = 0xffff; });
  auto parsed = ParseBzImage(image);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->release, "");
}

TEST(IdentifyTest, EveryPrefixOfEveryMagicIsSurvived) {
  Bytes bytes(600, 0x20);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DescribeNonKernel(absl::MakeConstSpan(bytes).first(size)).empty());
  }
}

}  // namespace
}  // namespace stasis
