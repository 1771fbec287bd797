#include "vmm/x86_64/vcpu_notes.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "vmm/dump/format.h"

namespace stasis {
namespace {

using nlohmann::json;

// <linux/elfcore.h>, <asm/user_64.h>. Mirrors the kernel's layout.
struct PrStatus {
  int32_t signal_info[3];
  int16_t current_signal;
  uint64_t pending;
  uint64_t held;
  int32_t pid;
  int32_t parent;
  int32_t group;
  int32_t session;
  uint64_t times[8];
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax;
  uint64_t rip, cs, rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
  int32_t fp_valid;
};
static_assert(sizeof(PrStatus) == dump::kX86PrStatusBytes);
static_assert(offsetof(PrStatus, r15) == 112);

// QEMU, target/i386/arch_dump.c. Mirrors its layout.
struct QemuSegment {
  uint32_t selector;
  uint32_t limit;
  uint32_t flags;
  uint32_t padding;
  uint64_t base;
};
struct QemuState {
  uint32_t version;
  uint32_t size;
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t rip, rflags;
  QemuSegment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  uint64_t cr[5];
  uint64_t kernel_gs_base;
};
static_assert(sizeof(QemuState) == dump::kX86QemuStateBytes);

constexpr uint32_t kMsrKernelGsBase = 0xc0000102;

template <typename T>
std::string Bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

QemuSegment ToQemu(const kvm_segment& segment) {
  // The second half of a descriptor (SDM vol. 3A §3.4.5).
  const uint32_t flags = uint32_t{segment.type} << 8 | uint32_t{segment.s} << 12 |
                         uint32_t{segment.dpl} << 13 | uint32_t{segment.present} << 15 |
                         uint32_t{segment.avl} << 20 | uint32_t{segment.l} << 21 |
                         uint32_t{segment.db} << 22 | uint32_t{segment.g} << 23;
  return {
      .selector = segment.selector, .limit = segment.limit, .flags = flags, .base = segment.base};
}

QemuSegment ToQemu(const kvm_dtable& table) { return {.limit = table.limit, .base = table.base}; }

std::string Hex(uint64_t value) { return absl::StrFormat("0x%x", value); }

json Unavailable(const absl::Status& status) {
  return {{"unavailable", std::string(status.message())}};
}

template <typename T>
json Base64(const T* bytes, size_t size) {
  return absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(bytes), size));
}

json RegsJson(const kvm_regs& r) {
  return {{"rax", Hex(r.rax)}, {"rbx", Hex(r.rbx)},      {"rcx", Hex(r.rcx)}, {"rdx", Hex(r.rdx)},
          {"rsi", Hex(r.rsi)}, {"rdi", Hex(r.rdi)},      {"rsp", Hex(r.rsp)}, {"rbp", Hex(r.rbp)},
          {"r8", Hex(r.r8)},   {"r9", Hex(r.r9)},        {"r10", Hex(r.r10)}, {"r11", Hex(r.r11)},
          {"r12", Hex(r.r12)}, {"r13", Hex(r.r13)},      {"r14", Hex(r.r14)}, {"r15", Hex(r.r15)},
          {"rip", Hex(r.rip)}, {"rflags", Hex(r.rflags)}};
}

json SegmentJson(const kvm_segment& s) {
  return {{"selector", Hex(s.selector)},
          {"base", Hex(s.base)},
          {"limit", Hex(s.limit)},
          {"type", s.type},
          {"dpl", s.dpl},
          {"present", s.present},
          {"s", s.s},
          {"l", s.l},
          {"db", s.db},
          {"g", s.g},
          {"avl", s.avl},
          {"unusable", s.unusable}};
}

json TableJson(const kvm_dtable& table) {
  return {{"base", Hex(table.base)}, {"limit", Hex(table.limit)}};
}

json SregsJson(const kvm_sregs& s) {
  json bitmap = json::array();
  for (uint64_t word : s.interrupt_bitmap) bitmap.push_back(Hex(word));
  return {{"cs", SegmentJson(s.cs)},
          {"ds", SegmentJson(s.ds)},
          {"es", SegmentJson(s.es)},
          {"fs", SegmentJson(s.fs)},
          {"gs", SegmentJson(s.gs)},
          {"ss", SegmentJson(s.ss)},
          {"tr", SegmentJson(s.tr)},
          {"ldt", SegmentJson(s.ldt)},
          {"gdt", TableJson(s.gdt)},
          {"idt", TableJson(s.idt)},
          {"cr0", Hex(s.cr0)},
          {"cr2", Hex(s.cr2)},
          {"cr3", Hex(s.cr3)},
          {"cr4", Hex(s.cr4)},
          {"cr8", Hex(s.cr8)},
          {"efer", Hex(s.efer)},
          {"apic_base", Hex(s.apic_base)},
          {"interrupt_bitmap", std::move(bitmap)}};
}

json DebugRegsJson(const kvm_debugregs& d) {
  return {{"dr0", Hex(d.db[0])}, {"dr1", Hex(d.db[1])}, {"dr2", Hex(d.db[2])},
          {"dr3", Hex(d.db[3])}, {"dr6", Hex(d.dr6)},   {"dr7", Hex(d.dr7)}};
}

json FpuJson(const kvm_fpu& f) {
  auto list = [](const uint8_t(*rows)[16], int count) {
    json texts = json::array();
    for (int i = 0; i < count; ++i) {
      texts.push_back(
          absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(rows[i]), 16)));
    }
    return texts;
  };
  return {{"fcw", Hex(f.fcw)},         {"fsw", Hex(f.fsw)},
          {"ftwx", Hex(f.ftwx)},       {"last_opcode", Hex(f.last_opcode)},
          {"last_ip", Hex(f.last_ip)}, {"last_dp", Hex(f.last_dp)},
          {"mxcsr", Hex(f.mxcsr)},     {"st", list(f.fpr, 8)},
          {"xmm", list(f.xmm, 16)}};
}

json XcrsJson(const kvm_xcrs& xcrs) {
  json map = json::object();
  for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; ++i) {
    map[absl::StrCat(xcrs.xcrs[i].xcr)] = Hex(xcrs.xcrs[i].value);
  }
  return map;
}

json MsrsJson(const std::vector<kvm_msr_entry>& msrs) {
  json map = json::object();
  for (const kvm_msr_entry& msr : msrs) map[Hex(msr.index)] = Hex(msr.data);
  return map;
}

json EventsJson(const kvm_vcpu_events& e) {
  return {
      {"exception",
       {{"injected", e.exception.injected},
        {"nr", e.exception.nr},
        {"has_error_code", e.exception.has_error_code},
        {"error_code", Hex(e.exception.error_code)},
        {"pending", e.exception.pending}}},
      {"interrupt",
       {{"injected", e.interrupt.injected},
        {"nr", e.interrupt.nr},
        {"soft", e.interrupt.soft},
        {"shadow", e.interrupt.shadow}}},
      {"nmi", {{"injected", e.nmi.injected}, {"pending", e.nmi.pending}, {"masked", e.nmi.masked}}},
      {"sipi_vector", e.sipi_vector},
      {"smi", {{"smm", e.smi.smm}, {"pending", e.smi.pending}}}};
}

json MpStateJson(const kvm_mp_state& state) {
  switch (state.mp_state) {
    case KVM_MP_STATE_RUNNABLE:
      return "runnable";
    case KVM_MP_STATE_UNINITIALIZED:
      return "uninitialized";
    case KVM_MP_STATE_INIT_RECEIVED:
      return "init-received";
    case KVM_MP_STATE_HALTED:
      return "halted";
    case KVM_MP_STATE_SIPI_RECEIVED:
      return "sipi-received";
    default:
      return absl::StrCat("mp-state-", state.mp_state);
  }
}

template <typename T, typename F>
json PartJson(const X86VcpuState::Part<T>& part, F to_json) {
  return part.status.ok() ? to_json(part.value) : Unavailable(part.status);
}

}  // namespace

std::string X86PrStatus(const X86VcpuState& state, uint32_t cpu) {
  PrStatus status = {};
  status.pid = static_cast<int32_t>(cpu + 1);
  if (state.has_registers()) {
    const kvm_regs& r = state.regs.value;
    const kvm_sregs& s = state.sregs.value;
    status.r15 = r.r15;
    status.r14 = r.r14;
    status.r13 = r.r13;
    status.r12 = r.r12;
    status.rbp = r.rbp;
    status.rbx = r.rbx;
    status.r11 = r.r11;
    status.r10 = r.r10;
    status.r9 = r.r9;
    status.r8 = r.r8;
    status.rax = r.rax;
    status.rcx = r.rcx;
    status.rdx = r.rdx;
    status.rsi = r.rsi;
    status.rdi = r.rdi;
    status.orig_rax = r.rax;  // as QEMU has it
    status.rip = r.rip;
    status.cs = s.cs.selector;
    status.rflags = r.rflags;
    status.rsp = r.rsp;
    status.ss = s.ss.selector;
    status.fs_base = s.fs.base;
    status.gs_base = s.gs.base;
    status.ds = s.ds.selector;
    status.es = s.es.selector;
    status.fs = s.fs.selector;
    status.gs = s.gs.selector;
  }
  return Bytes(status);
}

std::string X86QemuState(const X86VcpuState& state) {
  QemuState q = {.version = 1, .size = sizeof(QemuState)};
  if (!state.has_registers()) return Bytes(q);
  const kvm_regs& r = state.regs.value;
  const kvm_sregs& s = state.sregs.value;
  q.rax = r.rax;
  q.rbx = r.rbx;
  q.rcx = r.rcx;
  q.rdx = r.rdx;
  q.rsi = r.rsi;
  q.rdi = r.rdi;
  q.rsp = r.rsp;
  q.rbp = r.rbp;
  q.r8 = r.r8;
  q.r9 = r.r9;
  q.r10 = r.r10;
  q.r11 = r.r11;
  q.r12 = r.r12;
  q.r13 = r.r13;
  q.r14 = r.r14;
  q.r15 = r.r15;
  q.rip = r.rip;
  q.rflags = r.rflags;
  q.cs = ToQemu(s.cs);
  q.ds = ToQemu(s.ds);
  q.es = ToQemu(s.es);
  q.fs = ToQemu(s.fs);
  q.gs = ToQemu(s.gs);
  q.ss = ToQemu(s.ss);
  q.ldt = ToQemu(s.ldt);
  q.tr = ToQemu(s.tr);
  q.gdt = ToQemu(s.gdt);
  q.idt = ToQemu(s.idt);
  q.cr[0] = s.cr0;
  q.cr[2] = s.cr2;
  q.cr[3] = s.cr3;
  q.cr[4] = s.cr4;
  for (const kvm_msr_entry& msr : state.msrs.value) {
    if (msr.index == kMsrKernelGsBase) q.kernel_gs_base = msr.data;
  }
  return Bytes(q);
}

std::string X86StateJson(const X86VcpuState& state) {
  json object = {
      {"regs", PartJson(state.regs, RegsJson)},
      {"sregs", PartJson(state.sregs, SregsJson)},
      {"debugregs", PartJson(state.debugregs, DebugRegsJson)},
      {"fpu", PartJson(state.fpu, FpuJson)},
      {"xsave_base64", PartJson(state.xsave,
                                [](const kvm::XsaveArea& xsave) {
                                  return Base64(xsave.region, sizeof(xsave.region));
                                })},
      {"xcrs", PartJson(state.xcrs, XcrsJson)},
      {"msrs", PartJson(state.msrs, MsrsJson)},
      {"lapic_base64", PartJson(state.lapic,
                                [](const kvm_lapic_state& lapic) {
                                  return Base64(lapic.regs, sizeof(lapic.regs));
                                })},
      {"events", PartJson(state.events, EventsJson)},
      {"mp_state", PartJson(state.mp_state, MpStateJson)},
  };
  return object.dump();
}

}  // namespace stasis
