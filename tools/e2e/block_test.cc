// Disks under the stock Linux driver: what the guest writes is what the host finds.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tools/e2e/boot_case.h"
#include "tools/stasis/run_stasis.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kMiB = 1 << 20;

// A command of this machine; its output without the newline at its end.
std::string Host(const std::string& command, int* exit_code = nullptr) {
  std::string output;
  FILE* pipe = popen((command + " 2>&1").c_str(), "re");
  char buffer[4096];
  for (size_t n; pipe != nullptr && (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    output.append(buffer, n);
  }
  const int status = pipe == nullptr ? -1 : pclose(pipe);
  if (exit_code != nullptr) *exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return output;
}

class BlockTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNot({}); !why.empty()) GTEST_SKIP() << why;
    std::string name = testing::TempDir() + "/block_test.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    options_.time_limit = std::chrono::seconds(900);
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  // A sparse image.
  std::string Image(const std::string& name, uint64_t bytes) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path).flush();
    fs::resize_file(path, bytes);
    return path;
  }

  // Runs `script` in a guest with two vCPUs; `arguments` are those of `stasis shell` besides.
  StasisRun Guest(const std::string& script, std::vector<std::string> arguments) {
    std::vector<std::string> all = {"shell", "--topology", "2c", "--json", Json()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    all.insert(all.end(), {"--exec", "set -e\n" + script});
    return RunStasis(all, options_);
  }
  std::string Json() const { return directory_ + "/result.json"; }
  nlohmann::json Result() const {
    std::ifstream file(Json());
    return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  }

  std::string directory_;
  RunStasisOptions options_;
};

// B3, B4, B7, B11
TEST_F(BlockTest, FilesystemIsWholeForTheGuestAndForTheHost) {
  const std::string image = Image("fs.img", 256 * kMiB);
  const std::string read_only = Image("ro.img", 4 * kMiB);
  const std::string before = Host("sha256sum < " + read_only);

  const StasisRun run = Guest(
      R"(
mkfs.ext4 -q /dev/vda
mkdir -p /mnt
mount -t ext4 /dev/vda /mnt
for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/$i bs=1M count=16 conv=fsync 2>/dev/null; done
(cd /mnt; sha256sum 1 2 3 4) > /tmp/sums
cp /tmp/sums /mnt/sums
sync
echo 3 > /proc/sys/vm/drop_caches
(cd /mnt; sha256sum -c /tmp/sums)
rm /mnt/4
umount /mnt
e2fsck -fn /dev/vda > /dev/null 2>&1 && echo clean
# The second disk is read-only, the third has 4 KiB at 1 MiB that cannot be read or written.
cat /sys/block/vdb/ro
dd if=/dev/zero of=/dev/vdb bs=4k count=1 2>&1 && echo "written all the same" || echo refused
dd if=/dev/vdc of=/dev/null bs=4k skip=255 count=1 2>/dev/null && echo before
dd if=/dev/vdc of=/dev/null bs=4k skip=256 count=1 2>&1 && echo "read all the same" || echo bad
echo 1 > /proc/sys/vm/drop_caches
dd if=/dev/vdc of=/dev/null bs=4k skip=257 count=1 2>/dev/null && echo after
dd if=/dev/zero of=/dev/vdc bs=4k seek=256 count=1 conv=fsync 2>&1 && echo "written all the same" || echo bad
)",
      {"--disk", image, "--disk", read_only + ",ro", "--disk", "scratch:4M,bad=1M+4K", "--include",
       "/sbin/mkfs.ext4", "--include", "/sbin/e2fsck", "--include", "/etc/mke2fs.conf"});

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  for (const char* line : {"1: OK", "4: OK", "clean\n", "refused\n", "before\nd", "bad\nafter\n"}) {
    EXPECT_THAT(run.output, HasSubstr(line));
  }
  EXPECT_THAT(run.output, HasSubstr("Input/output error"));
  EXPECT_THAT(run.output, Not(HasSubstr("all the same")));
  int fsck = -1;
  const std::string said = Host("/sbin/e2fsck -fn " + image, &fsck);
  EXPECT_EQ(fsck, 0) << said;
  Host("/sbin/debugfs -R 'rdump / " + directory_ + "' " + image);
  EXPECT_THAT(Host("cd " + directory_ + " && sha256sum -c sums"),
              testing::AllOf(HasSubstr("1: OK"), HasSubstr("3: OK"), HasSubstr("4: FAILED")));
  EXPECT_EQ(Host("sha256sum < " + read_only), before);
  const nlohmann::json disks = Result()["disks"];
  ASSERT_EQ(disks.size(), 3u);
  EXPECT_GE(disks[0]["bytes_written"], 64 * kMiB);
  EXPECT_GT(disks[0]["flushes"], 0);
  EXPECT_EQ(disks[0]["io_errors"], 0);
  EXPECT_EQ(disks[1]["writes"], 0);
  EXPECT_GE(disks[2]["io_errors"], 2);
}

// Unbinds and binds the driver again, `times`, while `readers` (commands of a shell) read the disk;
// says "same" when its first 16 MiB are what they were, and "quiet" when the kernel complained of
// nothing.
std::string RebindScript(int times, const std::string& readers) {
  return R"(
dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync 2>/dev/null
head -c 16777216 /dev/vda | sha256sum > /tmp/sum
device=$(basename $(readlink -f /sys/block/vda/device))
driver=/sys/bus/virtio/drivers/virtio_blk
i=0
while [ $i -lt )" + std::to_string(times) + R"( ]; do
  i=$((i + 1))
  )" + readers + R"(
  [ $((i % 3)) = 0 ] && echo 1 > /proc/sys/vm/drop_caches
  echo $device > $driver/unbind
  wait
  echo $device > $driver/bind
done
echo 3 > /proc/sys/vm/drop_caches
head -c 16777216 /dev/vda | sha256sum | cmp - /tmp/sum && echo same
dmesg | grep -E 'nobody cared|blocked for more than|BUG:|rcu.*stall' || echo quiet
)";
}

// R1 to R4: resets while requests are in flight.
TEST_F(BlockTest, DriverIsBoundAHundredTimesUnderLoadAndNothingIsLostOrLeaked) {
  const std::string image = Image("rebind.img", 64 * kMiB);

  const StasisRun run =
      Guest(RebindScript(100,
                         "dd if=/dev/vda of=/dev/null bs=64k count=512 2>/dev/null &\n"
                         "  dd if=/dev/vda of=/dev/null bs=4k skip=4096 count=512 2>/dev/null &"),
            {"--disk", image, "--monitor", "0"});

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(run.output, HasSubstr("same\n"));
  EXPECT_THAT(run.output, HasSubstr("quiet\n"));
  const nlohmann::json result = Result();
  EXPECT_EQ(result["disks"][0]["poisonings"], 0);
  EXPECT_EQ(result["disks"][0]["invalid_requests"], 0);
  // Workers are made and joined a hundred times; what is there at the end is what was there (the
  // monitor, which begins later, is left out).
  EXPECT_EQ(result["process"]["threads_at_end"], result["process"]["threads_at_hello"]);
  EXPECT_EQ(result["process"]["descriptors_at_end"], result["process"]["descriptors_at_hello"]);
}

// F11: the device is reset by its driver again and again, while all of it is frozen every few
// milliseconds.
TEST_F(BlockTest, F11_FreezesWhileTheDriverIsUnboundLoseNothing) {
  const std::string image = Image("frozen.img", 64 * kMiB);

  const StasisRun run =
      Guest(RebindScript(40, "dd if=/dev/vda of=/dev/null bs=4k count=2048 2>/dev/null &"),
            {"--disk", image, "--freeze-stress", "100000", "--monitor", "0"});

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(run.output, HasSubstr("same\n"));
  EXPECT_THAT(run.output, HasSubstr("quiet\n"));
  const nlohmann::json result = Result();
  EXPECT_GE(result["freezes"]["count"], 40) << result["freezes"];
  EXPECT_EQ(result["freezes"]["incomplete"], 0) << result["freezes"];
  EXPECT_EQ(result["disks"][0]["invalid_requests"], 0);
  EXPECT_EQ(result["process"]["threads_at_end"], result["process"]["threads_at_hello"]);
}

// B9
TEST_F(BlockTest, ThrottledReadsTakeTheTimeOfTheirLimit) {
  const StasisRun run = Guest(R"(
start=$(cut -d' ' -f1 /proc/uptime)
i=0
while [ $i -lt 400 ]; do
  dd if=/dev/vda of=/dev/null bs=4k skip=$((i * 8)) count=1 iflag=direct 2>/dev/null
  i=$((i + 1))
done
end=$(cut -d' ' -f1 /proc/uptime)
echo "took $start $end"
)",
                              {"--disk", "scratch:64M,iops=40,burst=25ms"});

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  double start = 0, end = 0;
  ASSERT_EQ(sscanf(run.output.c_str(), "took %lf %lf", &start, &end), 2) << run.output;
  const double per_second = 400 / (end - start);
  EXPECT_LT(per_second, 40 * 1.05);
  RecordProperty("reads_per_second", std::to_string(per_second));
  EXPECT_GT(Result()["disks"][0]["throttle_events"], 0);
  EXPECT_EQ(Result()["disks"][0]["io_errors"], 0);
}

constexpr char kFio[] = "/usr/bin/fio";
// Debian's fio comes with 80 MB of libraries.
const std::vector<std::string> kFioArguments = {"--include", kFio, "--memory", "1G"};

// Q5, B6, B8: everything that fio writes is read back and compared, at every depth and through both
// engines, with and without the host's page cache.
TEST_F(BlockTest, FioFindsWhatItWroteAtEveryDepthOnEveryKindOfDisk) {
  ASSERT_TRUE(fs::exists(kFio)) << "run tools/setup --tests";
  std::vector<std::string> arguments = kFioArguments;
  for (const char* options : {"", ",engine=sync", ",direct", ",queues=2"}) {
    const std::string image = Image("fio" + std::to_string(arguments.size()) + ".img", 64 * kMiB);
    arguments.insert(arguments.end(), {"--disk", image + options});
  }

  // One process for each disk: loading fio takes seconds in an emulated guest.
  const StasisRun run = Guest(R"(
section() {
  echo "[$1-$2-$3]"
  printf 'stonewall\nrw=%s\nbs=%s\nnumjobs=%s\niodepth=%s\n' $1 $4 $2 $3
  [ $1 = randread ] || printf 'verify=crc32c\nverify_fatal=1\n'
}
for disk in vda vdb vdc vdd; do
  {
    printf '[global]\nfilename=/dev/%s\nthread\ndirect=1\nioengine=libaio\nsize=2m\n' $disk
    printf 'offset_increment=8m\n'
    for jobs in 1 4; do
      for depth in 1 32; do
        section randwrite $jobs $depth 4k
        section write $jobs $depth 1m
        section randread $jobs $depth 4k
      done
    done
  } > /tmp/jobs
  fio --minimal /tmp/jobs > /tmp/out 2>&1 || { cat /tmp/out; exit 1; }
  count=$(grep -c '^3;' /tmp/out)
  echo "verified $disk $count"
done
ls /sys/block/vdd/mq | wc -l
dmesg | grep -E 'I/O error|blocked for more than|BUG:|rcu.*stall' || echo quiet
)",
                              arguments);

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(run.output, HasSubstr("verified vdd 30\n2\nquiet\n"));
  const nlohmann::json disks = Result()["disks"];
  ASSERT_EQ(disks.size(), 4u);
  for (const nlohmann::json& disk : disks) {
    EXPECT_EQ(disk["io_errors"], 0) << disk;
    EXPECT_EQ(disk["invalid_requests"], 0) << disk;
    EXPECT_EQ(disk["poisonings"], 0) << disk;
    EXPECT_GE(disk["bytes_read"], 30 * kMiB) << disk;
  }
  EXPECT_EQ(disks[1]["engine"], "sync");
  EXPECT_EQ(disks[3]["queues"], 2);
}

// The proof's own size: 256 MiB of files with checksums. (--config=soak)
TEST_F(BlockTest, SoakTwoHundredFiftySixMebibytesComeBackWhole) {
  const std::string image = Image("large.img", 512 * kMiB);

  const StasisRun run = Guest(R"(
mkfs.ext4 -q /dev/vda
mkdir -p /mnt
mount -t ext4 /dev/vda /mnt
i=0
while [ $i -lt 16 ]; do
  dd if=/dev/urandom of=/mnt/$i bs=1M count=16 conv=fsync 2>/dev/null
  i=$((i + 1))
done
(cd /mnt; sha256sum [0-9]*) > /tmp/sums
cp /tmp/sums /mnt/sums
sync
echo 3 > /proc/sys/vm/drop_caches
(cd /mnt; sha256sum -c /tmp/sums | grep -c OK)
umount /mnt
e2fsck -fn /dev/vda > /dev/null 2>&1 && echo clean
)",
                              {"--disk", image, "--include", "/sbin/mkfs.ext4", "--include",
                               "/sbin/e2fsck", "--include", "/etc/mke2fs.conf"});

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  EXPECT_THAT(run.output, HasSubstr("16\nclean\n"));
  int fsck = -1;
  const std::string said = Host("/sbin/e2fsck -fn " + image, &fsck);
  EXPECT_EQ(fsck, 0) << said;
  Host("/sbin/debugfs -R 'rdump / " + directory_ + "' " + image);
  EXPECT_THAT(Host("cd " + directory_ + " && sha256sum -c sums | grep -c OK"), "16");
}

// B9, both limits and both directions, over 10 s each: within 5 % of what was asked for.
TEST_F(BlockTest, ThrottledFioRunsAtTheLimitsRate) {
  ASSERT_TRUE(fs::exists(kFio)) << "run tools/setup --tests";
  std::vector<std::string> arguments = kFioArguments;
  arguments.insert(arguments.end(), {"--disk", "scratch:64M,iops=50,burst=20ms", "--disk",
                                     "scratch:64M,bps=2M,burst=20ms"});

  const StasisRun run = Guest(R"(
# Fields of fio's terse format: 7 and 48 KiB/s, 8 and 49 IOPS of reads and writes.
run() {
  fio --name=t --filename=/dev/$1 --direct=1 --ioengine=libaio --rw=$2 --bs=$3 --iodepth=4 --size=64m \
    --time_based --runtime=10 --minimal > /tmp/out 2>&1 || { cat /tmp/out; exit 1; }
  echo "rate $(grep '^3;' /tmp/out | cut -d';' -f$4) "
}
run vda randread 4k 8
run vda randwrite 4k 49
run vdb randread 64k 7
)",
                              arguments);

  ASSERT_EQ(run.exit_code, 0) << run.output << run.error;
  double read_iops = 0, write_iops = 0, kib = 0;
  ASSERT_EQ(sscanf(run.output.c_str(), "rate %lf rate %lf rate %lf", &read_iops, &write_iops, &kib),
            3)
      << run.output;
  EXPECT_NEAR(read_iops, 50, 2.5);
  EXPECT_NEAR(write_iops, 50, 2.5);
  EXPECT_NEAR(kib, 2048, 102);
  for (const nlohmann::json& disk : Result()["disks"]) {
    EXPECT_GT(disk["throttle_events"], 0);
    EXPECT_EQ(disk["io_errors"], 0);
  }
}

class DurabilityTest : public BlockTest, public testing::WithParamInterface<int> {};

// B7: the machine is killed after it has told of that many records.
TEST_P(DurabilityTest, WhatTheGuestWasToldIsDurableIsThereAfterSigkill) {
  const std::string image = Image("durable.img", 16 * kMiB);
  options_.signal = SIGKILL;
  options_.signal_after = "record " + std::to_string(GetParam()) + "\n";

  const StasisRun run = Guest(R"(
i=0
while true; do
  i=$((i + 1))
  printf 'record %d' $i | dd of=/dev/vda bs=512 seek=$i conv=sync,fsync,notrunc 2>/dev/null
  echo "record $i" >&2
done
)",
                              {"--disk", image});

  EXPECT_EQ(run.exit_code, 128 + SIGKILL) << run.output << run.error;
  const size_t last = run.error.rfind("record ");
  ASSERT_NE(last, std::string::npos) << run.error;
  const int told = atoi(run.error.c_str() + last + 7);
  EXPECT_GE(told, GetParam());
  std::ifstream file(image, std::ios::binary);
  for (int i = 1; i < told; ++i) {  // the last line may be half a number
    char record[32] = {};
    file.seekg(512 * static_cast<std::streamoff>(i));
    file.read(record, sizeof(record) - 1);
    ASSERT_EQ(std::string(record), "record " + std::to_string(i));
  }
}

INSTANTIATE_TEST_SUITE_P(Default, DurabilityTest, testing::Values(7));
// Twenty moments, with --config=soak.
INSTANTIATE_TEST_SUITE_P(Soak, DurabilityTest, testing::Range(1, 60, 3));

}  // namespace
}  // namespace stasis
