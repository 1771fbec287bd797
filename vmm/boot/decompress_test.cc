#include "vmm/boot/decompress.h"

#include <gtest/gtest.h>

#include <numeric>

#include "vmm/boot/testing/test_images.h"

namespace stasis {
namespace {

using testing::Bytes;
using testing::Pack;

Bytes Sample() {
  Bytes bytes(20000);
  uint32_t state = 1;
  for (size_t i = 0; i < bytes.size(); ++i) {
    state = state * 1664525 + 1013904223;
    bytes[i] = i % 3 == 0 ? state >> 24 : 'x';  // neither constant nor random
  }
  return bytes;
}

class EveryFormat : public ::testing::TestWithParam<Compression> {};

TEST_P(EveryFormat, IsDetectedAndUnpackedToTheSameBytes) {
  const Bytes sample = Sample();
  const Bytes packed = Pack(GetParam(), sample);
  Bytes output(sample.size());

  EXPECT_EQ(DetectCompression(packed), GetParam());
  const auto status = Decompress(GetParam(), packed, absl::MakeSpan(output));

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(output, sample);
}

TEST_P(EveryFormat, CutAnywhereIsAnErrorThatNamesTheFormat) {
  const Bytes packed = Pack(GetParam(), Sample());
  Bytes output(Sample().size());
  // gzip and the formats with a trailer notice every cut; the step keeps the test short.
  for (size_t cut = 0; cut < packed.size(); cut += 1 + packed.size() / 200) {
    const auto status =
        Decompress(GetParam(), absl::MakeConstSpan(packed).first(cut), absl::MakeSpan(output));
    ASSERT_FALSE(status.ok()) << "cut at " << cut;
    ASSERT_NE(status.message().find(CompressionName(GetParam())), absl::string_view::npos);
  }
}

TEST_P(EveryFormat, AnotherSizeThanExpectedIsAnError) {
  const Bytes packed = Pack(GetParam(), Sample());
  Bytes larger(Sample().size() + 1);
  Bytes smaller(Sample().size() - 1);
  EXPECT_FALSE(Decompress(GetParam(), packed, absl::MakeSpan(larger)).ok());
  EXPECT_FALSE(Decompress(GetParam(), packed, absl::MakeSpan(smaller)).ok());
}

TEST_P(EveryFormat, EveryFlippedByteIsSurvived) {
  const Bytes packed = Pack(GetParam(), Sample());
  Bytes output(Sample().size());
  for (size_t at = 0; at < packed.size(); at += 1 + packed.size() / 300) {
    Bytes garbled = packed;
    garbled[at] ^= 0xff;
    const auto status = Decompress(GetParam(), garbled, absl::MakeSpan(output));
    EXPECT_EQ(status.ok(), status.message().empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat,
                         ::testing::Values(Compression::kGzip, Compression::kXz, Compression::kLz4,
                                           Compression::kZstd, Compression::kBzip2,
                                           Compression::kLzma),
                         [](const auto& info) { return CompressionName(info.param); });

TEST(DecompressTest, LzoIsRecognisedAndRefusedByName) {
  const Bytes lzo = {0x89, 'L', 'Z', 'O', 0, 0x0d};
  Bytes output(10);
  EXPECT_EQ(DetectCompression(lzo), Compression::kLzo);
  const auto status = Decompress(Compression::kLzo, lzo, absl::MakeSpan(output));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("lzo"), absl::string_view::npos);
}

TEST(DecompressTest, NoBytesAreOfAnUnknownFormat) {
  EXPECT_EQ(DetectCompression({}), Compression::kUnknown);
}

TEST(GunzipTest, GivesTheTextAndIgnoresWhatFollows) {
  Bytes packed = Pack(Compression::kGzip, testing::AsBytes("CONFIG_SMP=y\n"));
  packed.insert(packed.end(), {'I', 'K', 'C', 'F', 'G', '_', 'E', 'D'});
  const auto text = Gunzip(packed, 1000);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "CONFIG_SMP=y\n");
}

TEST(GunzipTest, StopsAtTheLimit) {
  const Bytes packed = Pack(Compression::kGzip, Bytes(1 << 20));
  EXPECT_EQ(Gunzip(packed, 1000).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(GunzipTest, TruncatedIsAnError) {
  Bytes packed = Pack(Compression::kGzip, Sample());
  packed.resize(packed.size() / 2);
  EXPECT_EQ(Gunzip(packed, 1 << 20).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stasis
