#include "guest/wire/messages.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "guest/wire/frame.h"

namespace stasis::wire {
namespace {

std::string Payload(const std::string& line) {
  Decoder decoder;
  std::vector<std::string> payloads;
  std::string console;
  decoder.Feed(line, &payloads, &console);
  return payloads.size() == 1 && console.empty() ? payloads[0] : "";
}

TEST(MessagesTest, HelloGoesThroughTheWire) {
  Hello hello;
  hello.kernel_release = "6.12.1";
  hello.vmcoreinfo = VmcoreInfo{.address = 0x7fff0000, .size = 4132};
  hello.transport = "virtio";

  auto message = ParseAgentMessage(Payload(EncodeLine(AgentMessage(hello))));

  ASSERT_TRUE(message.ok()) << message.status();
  const Hello& back = std::get<Hello>(*message);
  EXPECT_EQ(back.kernel_release, "6.12.1");
  EXPECT_EQ(back.vmcoreinfo->address, 0x7fff0000u);
}

TEST(MessagesTest, BytesOfACommandGoThroughTheWireWhateverTheyAre) {
  ExecOutput output;
  for (int byte = 0; byte < 256; ++byte) output.data.data.push_back(static_cast<char>(byte));

  auto message = ParseAgentMessage(Payload(EncodeLine(AgentMessage(output))));

  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(std::get<ExecOutput>(*message).data.data, output.data.data);
}

TEST(MessagesTest, TextThatIsNoUtf8StillMakesAFrame) {
  const std::string line = EncodeLine(AgentMessage(Log{.level = "info", .text = "\xff\x1e\n\x80"}));

  EXPECT_TRUE(ParseAgentMessage(Payload(line)).ok()) << line;
}

TEST(MessagesTest, ScenarioGoesThroughTheWire) {
  Scenario scenario;
  scenario.name = "steady";
  scenario.duration = absl::Seconds(5);
  scenario.cgroups.push_back({.name = "left", .cpus = "half:0", .weight = 50, .work = {{}}});
  scenario.expect.max_gap = absl::Milliseconds(500);

  auto message = ParseHostMessage(Payload(EncodeLine(HostMessage(RunScenario{scenario}))));

  ASSERT_TRUE(message.ok()) << message.status();
  const Scenario& back = std::get<RunScenario>(*message).scenario;
  EXPECT_EQ(back.duration, absl::Seconds(5));
  EXPECT_EQ(back.cgroups[0].weight, 50u);
  EXPECT_EQ(back.cgroups[0].work[0].kind, WorkKind::kCpuSpin);
  EXPECT_EQ(back.expect.max_gap, absl::Milliseconds(500));
  EXPECT_FALSE(back.expect.max_spread.has_value());
}

TEST(MessagesTest, ResultOfAsManyWorkersAsAllowedFitsIntoAFrame) {
  Result result;
  for (uint32_t i = 0; i < kMaxWorkers; ++i) {
    WorkerMeasurement worker;
    worker.index = i;
    worker.cgroup = std::string(40, 'c');
    worker.kind = "cpu_spin";
    worker.run_delay_ns = worker.iterations = worker.run_ns = UINT64_MAX;
    worker.max_gap_ns = worker.gap_at_ns = worker.last_seen_ns = UINT64_MAX;
    for (uint32_t cpu = 0; cpu < 252; cpu += 2) worker.cpus_used.Add(cpu);
    worker.cpus_allowed = worker.cpus_used;
    // Every bucket in use, by more wake-ups than fit into a day.
    for (uint32_t bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
      worker.wakeup.Add(bucket, 9999999999);
      worker.response.Add(bucket, 9999999999);
    }
    result.measurements.workers.push_back(worker);
  }

  const std::string line = EncodeLine(AgentMessage(result));

  EXPECT_LT(line.size(), kMaxLine);
  auto back = ParseAgentMessage(Payload(line));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(std::get<Result>(*back).measurements.workers.size(), size_t{kMaxWorkers});
}

TEST(MessagesTest, OtherProtocolVersionIsANamedError) {
  auto message = ParseAgentMessage(R"({"type":"hello","protocol":99})");

  EXPECT_EQ(message.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(message.status().message(),
            absl::StrCat("protocol version mismatch: the guest agent speaks 99, this program speaks ",
                         kProtocolVersion, "; build both from the same source"));
}

TEST(MessagesTest, HostileTextIsRefused) {
  for (const char* text : {"", "null", "[]", "{", "{}", R"({"type":7})", R"({"type":"rubbish"})",
                           R"({"type":"hello"})", R"({"type":"hello","protocol":"1"})",
                           R"({"type":"heartbeat","seq":-1,"uptime_ns":0})",
                           R"({"type":"heartbeat","seq":1e400,"uptime_ns":0})",
                           R"({"type":"exec_output","id":1,"stream":1,"data":"?"})",
                           R"({"type":"topology","online":"3-1"})"}) {
    EXPECT_EQ(ParseAgentMessage(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(MessagesTest, DeepNestingIsRefusedWithoutHarm) {
  const std::string deep = R"({"type":"log","level":)" + std::string(500000, '[');

  EXPECT_FALSE(ParseAgentMessage(deep).ok());
}

}  // namespace
}  // namespace stasis::wire
