#include "tools/bench/memory_use.h"

#include <sys/mman.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace stasis::bench {
namespace {

constexpr uint64_t kMiB = 1 << 20;

constexpr char kSmaps[] =
    "55d0c0000000-55d0c0004000 r-xp 00000000 fe:00 123    /usr/bin/a monitor\n"
    "Size:                 16 kB\n"
    "Rss:                  12 kB\n"
    "Pss:                   6 kB\n"
    "VmFlags: rd ex mr mw me\n"
    "7f0000000000-7f0020000000 rw-p 00000000 00:00 0 \n"
    "Size:             524288 kB\n"
    "Rss:               65536 kB\n"
    "Pss:               65536 kB\n"
    "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]\n"
    "Rss:                  20 kB\n"
    "Pss:                  20 kB\n";

TEST(ParseSmapsTest, SizesAndNamesOfMappings) {
  const auto mappings = ParseSmaps(kSmaps);

  ASSERT_TRUE(mappings.ok()) << mappings.status();
  ASSERT_EQ(mappings->size(), 3u);
  EXPECT_EQ((*mappings)[0].name, "/usr/bin/a monitor");
  EXPECT_EQ((*mappings)[0].rss, 12u * 1024);
  EXPECT_EQ((*mappings)[0].pss, 6u * 1024);
  EXPECT_EQ((*mappings)[1].name, "");
  EXPECT_EQ((*mappings)[1].size, 512 * kMiB);
  EXPECT_EQ((*mappings)[2].name, "[stack]");
}

TEST(ParseSmapsTest, ALineThatIsNeitherFieldNorMappingIsAnError) {
  EXPECT_FALSE(ParseSmaps("hello world\n").ok());
  EXPECT_FALSE(ParseSmaps("8000-7000 rw-p 0 00:00 0\n").ok());
  EXPECT_FALSE(ParseSmaps("Rss:   1 kB\n").ok());
  EXPECT_FALSE(ParseSmaps("7000-8000 rw-p 0 00:00 0\nRss: many kB\n").ok());
}

TEST(SplitMemoryTest, GuestMemoryIsTakenOutAndTheRestAdded) {
  const auto use = SplitMemory(*ParseSmaps(kSmaps), 512 * kMiB);

  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->guest_resident, 64 * kMiB);
  EXPECT_EQ(use->rss, 32u * 1024);
  EXPECT_EQ(use->pss, 26u * 1024);
  EXPECT_EQ(use->largest_name, "[stack]");
  EXPECT_EQ(use->largest_rss, 20u * 1024);
}

TEST(SplitMemoryTest, GuestMemoryInThreeNeighbouringMappingsIsFound) {
  const std::vector<MemoryMapping> mappings = {
      {.begin = 1000 * kMiB, .size = 16 * kMiB, .rss = 5},
      {.begin = 1016 * kMiB, .size = 50 * kMiB, .rss = 7},
      {.begin = 1066 * kMiB, .size = 446 * kMiB, .rss = 11},
      {.begin = 2000 * kMiB, .size = 64 * kMiB, .rss = 13}};

  const auto use = SplitMemory(mappings, 512 * kMiB);

  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->guest_resident, 23u);
  EXPECT_EQ(use->rss, 13u);
}

TEST(SplitMemoryTest, ANeighbourThatIsNotTheGuestIsLeftOut) {
  const std::vector<MemoryMapping> mappings = {{.begin = 1000 * kMiB, .size = 8 * kMiB, .rss = 5},
                                               {.begin = 1008 * kMiB, .size = 512 * kMiB, .rss = 7},
                                               {.begin = 1520 * kMiB, .size = 8 * kMiB, .rss = 11}};

  const auto use = SplitMemory(mappings, 512 * kMiB);

  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->guest_resident, 7u);
  EXPECT_EQ(use->rss, 16u);
}

TEST(SplitMemoryTest, AMappedFileOfTheSameSizeIsNotTheGuest) {
  const std::vector<MemoryMapping> mappings = {
      {.begin = 0, .size = 512 * kMiB, .rss = 5, .name = "/a/file"},
      {.begin = 512 * kMiB, .size = 512 * kMiB, .rss = 7}};

  const auto use = SplitMemory(mappings, 512 * kMiB);

  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->guest_resident, 7u);
  EXPECT_EQ(use->rss, 5u);
}

TEST(SplitMemoryTest, WithoutGuestMemoryItIsAnError) {
  EXPECT_EQ(SplitMemory({{.size = 64 * kMiB}}, 512 * kMiB).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(ReadMemoryUseTest, MemoryThatThisProcessTouchesIsSeen) {
  constexpr size_t kSize = 777 * kMiB;
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  madvise(memory, kSize, MADV_NOHUGEPAGE);  // and not merged with a neighbour
  static_cast<char*>(memory)[0] = 1;
  static_cast<char*>(memory)[kSize / 2] = 1;

  const auto use = ReadMemoryUse(getpid(), kSize);

  munmap(memory, kSize);
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_EQ(use->guest_resident, 2u * 4096);
  EXPECT_GT(use->rss, 100u * 1024);
}

}  // namespace
}  // namespace stasis::bench
