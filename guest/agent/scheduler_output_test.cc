#include "guest/agent/scheduler_output.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace stasis::agent {
namespace {

class SchedulerOutputTest : public testing::Test {
 protected:
  SchedulerOutputTest()
      : output_([this](const wire::AgentMessage& message) {
          sent_.push_back(std::get<wire::SchedulerOutput>(message));
        }) {}

  std::vector<wire::SchedulerOutput> sent_;
  SchedulerOutput output_;
};

TEST_F(SchedulerOutputTest, OutputIsPassedOnAsItComes) {
  output_.Append(1, "one\n");
  output_.Append(2, "two\n");
  output_.Flush();

  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[0].stream, 1u);
  EXPECT_EQ(sent_[0].data.data, "one\n");
  EXPECT_EQ(sent_[1].stream, 2u);
  EXPECT_EQ(output_.Tail(2), "two\n");
}

TEST_F(SchedulerOutputTest, EndlessOutputIsBoundedAndItsEndArrives) {
  const std::string chunk(1 << 16, 'x');
  for (int i = 0; i < 100; ++i) output_.Append(1, chunk);
  output_.Append(1, "the end");
  output_.Flush();

  size_t bytes = 0, omitted = 0;
  for (const wire::SchedulerOutput& message : sent_) {
    bytes += message.data.data.size();
    omitted += message.omitted;
  }
  EXPECT_EQ(bytes, SchedulerOutput::kLiveBytes + SchedulerOutput::kTailBytes);
  EXPECT_EQ(bytes + omitted, 100 * chunk.size() + 7);
  EXPECT_EQ(sent_.back().data.data.substr(SchedulerOutput::kTailBytes - 7), "the end");
}

TEST_F(SchedulerOutputTest, StreamThatIsBeyondTheLimitDoesNotSilenceTheOther) {
  output_.Append(1, std::string(SchedulerOutput::kLiveBytes + 10, 'x'));
  output_.Append(2, "EXIT: reason\n");
  output_.Flush();

  EXPECT_EQ(sent_.back().stream, 2u);
  EXPECT_EQ(sent_.back().data.data, "EXIT: reason\n");
  EXPECT_EQ(sent_.back().omitted, 0u);
}

TEST_F(SchedulerOutputTest, LastLineIsThatOfStderrIfThereIsOne) {
  output_.Append(1, "out 1\nout 2\n");
  EXPECT_EQ(output_.LastLine(), "out 2");
  output_.Append(2, "bad\n\n  \n");
  EXPECT_EQ(output_.LastLine(), "bad");
}

TEST_F(SchedulerOutputTest, NextProgramBeginsWithAnEmptyTail) {
  output_.Append(2, "EXIT: one\n");
  output_.Begin();

  EXPECT_EQ(output_.Tail(2), "");
  EXPECT_EQ(output_.LastLine(), "");
}

}  // namespace
}  // namespace stasis::agent
