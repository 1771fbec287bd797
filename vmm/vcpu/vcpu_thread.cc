#include "vmm/vcpu/vcpu_thread.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "vmm/freeze/kick.h"
#include "vmm/vcpu/exit_reason.h"

namespace stasis {
namespace {

void Count(std::atomic<uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

VcpuThread::VcpuThread(std::unique_ptr<kvm::Vcpu> vcpu, int index, Callbacks callbacks)
    : vcpu_(std::move(vcpu)), index_(index), callbacks_(std::move(callbacks)) {}

VcpuThread::~VcpuThread() {
  RequestStop();
  Join();
}

void VcpuThread::Start() {
  thread_ = std::thread([this] { Main(); });
}

void VcpuThread::Join() {
  if (thread_.joinable()) thread_.join();
}

void VcpuThread::RequestStop() {
  // Main clears immediate_exit first and looks at stop_ afterwards; with the opposite order here,
  // one of the two is always seen (F3).
  stop_.store(true, std::memory_order_seq_cst);
  __atomic_store_n(&vcpu_->run()->immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST);
  const pid_t thread_id = thread_id_.load(std::memory_order_seq_cst);
  if (thread_id != 0) KickThread(thread_id);
}

VcpuStats VcpuThread::stats() const {
  return {.exits = exits_.load(std::memory_order_relaxed),
          .mmio_exits = mmio_exits_.load(std::memory_order_relaxed),
          .port_exits = port_exits_.load(std::memory_order_relaxed),
          .thread_id = thread_id_.load(std::memory_order_relaxed)};
}

void VcpuThread::Main() {
  kvm_run* const run = vcpu_->run();
  pthread_setname_np(pthread_self(), absl::StrCat("vcpu", index_).c_str());
  SetKickTarget(&run->immediate_exit);
  thread_id_.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_seq_cst);
  if (callbacks_.before_first_run) callbacks_.before_first_run();
  while (true) {
    __atomic_store_n(&run->immediate_exit, uint8_t{0}, __ATOMIC_SEQ_CST);
    if (stop_.load(std::memory_order_seq_cst)) break;
    const int error = vcpu_->Run();
    Count(exits_);
    // EAGAIN: a vCPU that still waits for INIT/SIPI was woken.
    if (error == EINTR || error == EAGAIN) continue;
    if (error != 0) {
      Fail({.kind = EndKind::kHostError,
            .message = absl::StrFormat("KVM_RUN of vCPU %d: %s", index_, strerror(error))});
      break;
    }
    if (!HandleExit()) break;
  }
  SetKickTarget(nullptr);
}

void VcpuThread::Fail(MachineEnd end) {
  end.vcpu = index_;
  // Not behind a port or MMIO exit, so that the registers are those of the failing instruction.
  if (callbacks_.describe_registers) end.registers = callbacks_.describe_registers(*vcpu_);
  callbacks_.on_fatal(end);
}

bool VcpuThread::HandleExit() {
  const kvm_run* const run = vcpu_->run();
  switch (run->exit_reason) {
    case KVM_EXIT_IO:
      HandlePortExit();
      return true;
    case KVM_EXIT_MMIO:
      HandleMmioExit();
      return true;
    case KVM_EXIT_IOAPIC_EOI:
      callbacks_.exits->EndOfInterrupt(run->eoi.vector);
      return true;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return true;
    default:
      Fail(FatalExit(*run));
      return false;
  }
}

void VcpuThread::HandlePortExit() {
  Count(port_exits_);
  kvm_run* const run = vcpu_->run();
  uint8_t* data = reinterpret_cast<uint8_t*>(run) + run->io.data_offset;
  // A string instruction carries several items for the same port.
  for (uint32_t i = 0; i < run->io.count; ++i, data += run->io.size) {
    const absl::Span<uint8_t> item(data, run->io.size);
    if (run->io.direction == KVM_EXIT_IO_IN) {
      callbacks_.exits->PortRead(run->io.port, item);
    } else {
      callbacks_.exits->PortWrite(run->io.port, item);
    }
  }
}

void VcpuThread::HandleMmioExit() {
  Count(mmio_exits_);
  kvm_run* const run = vcpu_->run();
  const absl::Span<uint8_t> data(run->mmio.data,
                                 std::min<size_t>(run->mmio.len, sizeof(run->mmio.data)));
  if (run->mmio.is_write) {
    callbacks_.exits->MmioWrite(run->mmio.phys_addr, data);
  } else {
    callbacks_.exits->MmioRead(run->mmio.phys_addr, data);
  }
}

}  // namespace stasis
