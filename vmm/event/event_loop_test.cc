#include "vmm/event/event_loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace stasis {
namespace {

std::unique_ptr<EventLoop> NewLoop() {
  auto loop = EventLoop::Create();
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

TEST(EventLoopTest, ReadableDescriptorCallsItsCallback) {
  auto loop = NewLoop();
  const int fd = eventfd(1, EFD_NONBLOCK);
  uint32_t seen = 0;
  ASSERT_TRUE(loop->Add(fd, EPOLLIN,
                        [&](uint32_t events) {
                          seen = events;
                          loop->Stop();
                        })
                  .ok());
  loop->Run();
  EXPECT_EQ(seen, static_cast<uint32_t>(EPOLLIN));
  close(fd);
}

TEST(EventLoopTest, DescriptorRemovedByAnEarlierCallbackOfTheSameRoundIsNotCalled) {
  auto loop = NewLoop();
  const int first = eventfd(1, EFD_NONBLOCK);
  const int second = eventfd(1, EFD_NONBLOCK);
  int calls = 0;
  auto remove_both = [&](uint32_t) {
    ++calls;
    loop->Remove(first);
    loop->Remove(second);
    loop->Stop();
  };
  ASSERT_TRUE(loop->Add(first, EPOLLIN, remove_both).ok());
  ASSERT_TRUE(loop->Add(second, EPOLLIN, remove_both).ok());
  loop->Run();
  EXPECT_EQ(calls, 1);
  close(first);
  close(second);
}

TEST(EventLoopTest, TasksPostedFromAnotherThreadRunInOrder) {
  auto loop = NewLoop();
  std::vector<int> order;
  std::thread poster([&] {
    for (int i = 0; i < 3; ++i) loop->Post([&order, i] { order.push_back(i); });
    loop->Post([&] { loop->Stop(); });
  });
  loop->Run();
  poster.join();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(EventLoopTest, RepeatingTimerRunsUntilCancelled) {
  auto loop = NewLoop();
  int calls = 0;
  EventLoop::TimerId id = 0;
  id = loop->AddTimer(
      absl::Milliseconds(1),
      [&] {
        if (++calls == 3) {
          loop->CancelTimer(id);
          loop->AddTimer(absl::Milliseconds(20), [&] { loop->Stop(); });
        }
      },
      /*repeat=*/true);
  loop->Run();
  EXPECT_EQ(calls, 3);
}

TEST(EventLoopTest, AddingABadDescriptorNamesIt) {
  auto loop = NewLoop();
  absl::Status status = loop->Add(-1, EPOLLIN, [](uint32_t) {});
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("descriptor -1"), absl::string_view::npos);
}

}  // namespace
}  // namespace stasis
