#include "tools/harness/process_use.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "absl/synchronization/notification.h"

namespace stasis {
namespace {

TEST(ProcessUseTest, ThreadAndDescriptorAreCounted) {
  const ProcessUse before = ReadProcessUse();
  absl::Notification end;
  std::thread thread([&] { end.WaitForNotification(); });
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

  const ProcessUse with = ReadProcessUse();

  EXPECT_EQ(with.threads, before.threads + 1);
  EXPECT_EQ(with.descriptors, before.descriptors + 1);
  end.Notify();
  thread.join();
  close(fd);
}

}  // namespace
}  // namespace stasis
