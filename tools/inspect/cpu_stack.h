// CpuStack: how a CPU of a frozen machine came to where it stands, by the registers of its dump.
#ifndef STASIS_TOOLS_INSPECT_CPU_STACK_H_
#define STASIS_TOOLS_INSPECT_CPU_STACK_H_

#include <vector>

#include "nlohmann/json.hpp"
#include "tools/inspect/kallsyms.h"
#include "tools/inspect/unwind.h"

namespace stasis {

// `vcpu`: a vCPU of the dump's JSON (docs/dump-format.md), with whatever somebody made of it.
bool HasRegisters(const nlohmann::json& vcpu);
bool InUserSpace(const nlohmann::json& vcpu);
// Its instruction pointer; 0 without registers.
uint64_t ProgramCounter(const nlohmann::json& vcpu);
// Where it stands first, then outwards. Empty without registers, and in user space.
std::vector<Frame> StackOf(const nlohmann::json& vcpu, const Unwinder& unwinder);

// An element of `scheduler.stacks` of the dump's JSON.
nlohmann::json StackJson(const nlohmann::json& vcpu, const Unwinder& unwinder,
                         const Kallsyms& symbols);

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_CPU_STACK_H_
