#include "tools/inspect/cpu_stack.h"

#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace stasis {
namespace {

using nlohmann::json;

std::optional<uint64_t> Hex(const json& vcpu, const char* pointer) {
  const json::json_pointer place(pointer);
  if (!vcpu.contains(place) || !vcpu[place].is_string()) return std::nullopt;
  uint64_t number;
  if (!absl::SimpleHexAtoi(vcpu[place].get_ref<const std::string&>(), &number)) return std::nullopt;
  return number;
}

uint64_t Register(const json& vcpu, const char* pointer) { return Hex(vcpu, pointer).value_or(0); }

}  // namespace

bool HasRegisters(const json& vcpu) { return Hex(vcpu, "/regs/rip").has_value(); }

bool InUserSpace(const json& vcpu) {
  return (Register(vcpu, "/sregs/cs/selector") & 3) == 3;  // the privilege level
}

uint64_t ProgramCounter(const json& vcpu) { return Register(vcpu, "/regs/rip"); }

std::vector<Frame> StackOf(const json& vcpu, const Unwinder& unwinder) {
  if (!HasRegisters(vcpu) || InUserSpace(vcpu)) return {};
  return unwinder.Unwind({.ip = Register(vcpu, "/regs/rip"),
                          .sp = Register(vcpu, "/regs/rsp"),
                          .bp = Register(vcpu, "/regs/rbp"),
                          .r10 = Register(vcpu, "/regs/r10"),
                          .r13 = Register(vcpu, "/regs/r13"),
                          .di = Register(vcpu, "/regs/rdi"),
                          .dx = Register(vcpu, "/regs/rdx"),
                          .ax = Register(vcpu, "/regs/rax")});
}

json StackJson(const json& vcpu, const Unwinder& unwinder, const Kallsyms& symbols) {
  if (!HasRegisters(vcpu)) return {{"unavailable", "the vCPU's registers are not known"}};
  json frames = json::array();
  for (const Frame& frame : StackOf(vcpu, unwinder)) {
    frames.push_back({{"address", absl::StrFormat("%#x", frame.address)},
                      {"symbol", symbols.Describe(frame.address)},
                      {"guessed", frame.guessed}});
  }
  return {{"user_space", InUserSpace(vcpu)}, {"frames", std::move(frames)}};
}

}  // namespace stasis
