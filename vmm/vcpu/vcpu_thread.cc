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
#include "vmm/freeze/event_count.h"
#include "vmm/freeze/kick.h"
#include "vmm/vcpu/exit_reason.h"

namespace stasis {
namespace {

void Count(std::atomic<uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

thread_local int current_index = -1;

}  // namespace

VcpuThread::VcpuThread(std::unique_ptr<kvm::Vcpu> vcpu, int index, Callbacks callbacks,
                       std::unique_ptr<VcpuState> slot)
    : vcpu_(std::move(vcpu)),
      index_(index),
      callbacks_(std::move(callbacks)),
      slot_(std::move(slot)) {}

VcpuThread::~VcpuThread() {
  RequestStop();
  Join();
}

void VcpuThread::Start() {
  started_.store(true, std::memory_order_seq_cst);
  thread_ = std::thread([this] { Main(); });
}

void VcpuThread::Join() {
  if (thread_.joinable()) thread_.join();
}

void VcpuThread::LeaveGuest() {
  // Main clears immediate_exit first and looks at control_ afterwards; with the opposite order
  // here, one of the two is always seen (F3).
  __atomic_store_n(&vcpu_->run()->immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST);
}

void VcpuThread::RequestStop() {
  control_.fetch_or(kStop, std::memory_order_seq_cst);
  LeaveGuest();
  FutexWakeAll(control_);
  Signal();
}

void VcpuThread::Hold() {
  control_.fetch_or(kHold, std::memory_order_seq_cst);
  LeaveGuest();
  Signal();
}

void VcpuThread::RequestPark(uint64_t epoch) {
  uint32_t old = control_.load(std::memory_order_relaxed);
  // Epoch and flag in one store, so that nobody can park for an epoch that has not begun.
  while (!control_.compare_exchange_weak(
      old, static_cast<uint32_t>(epoch << kEpochShift) | (old & kFlags & ~kCapture) | kPark,
      std::memory_order_seq_cst)) {
  }
  LeaveGuest();
  FutexWakeAll(control_);  // one that stands still already says so for this epoch
}

void VcpuThread::Signal() {
  const pid_t thread_id = thread_id_.load(std::memory_order_seq_cst);
  if (thread_id != 0) KickThread(thread_id);
}

bool VcpuThread::HasReached(const std::atomic<uint32_t>& reached, uint64_t epoch) const {
  // Before its start and behind its end it has no thread to touch anything with (F11).
  if (!started_.load(std::memory_order_seq_cst)) return true;
  if (finished_.load(std::memory_order_acquire)) return true;
  return reached.load(std::memory_order_acquire) ==
         static_cast<uint32_t>(epoch << kEpochShift) >> kEpochShift;
}

bool VcpuThread::IsParked(uint64_t epoch) const { return HasReached(parked_epoch_, epoch); }

bool VcpuThread::IsCaptured(uint64_t epoch) const { return HasReached(captured_epoch_, epoch); }

void VcpuThread::RequestCapture() {
  control_.fetch_or(kCapture, std::memory_order_seq_cst);
  FutexWakeAll(control_);
}

void VcpuThread::Unpark() {
  control_.fetch_and(~(kPark | kCapture), std::memory_order_seq_cst);
  FutexWakeAll(control_);
}

const VcpuState* VcpuThread::state() const {
  return captured_epoch_.load(std::memory_order_acquire) == kNobody ? nullptr : slot_.get();
}

std::string VcpuThread::name() const { return absl::StrCat("vcpu", index_); }

std::string VcpuThread::last_exit() const {
  const uint32_t reason = last_exit_.load(std::memory_order_relaxed);
  return reason == VcpuStats::kNoExit ? "none" : ExitReasonName(reason);
}

VcpuStats VcpuThread::stats() const {
  return {.exits = exits_.load(std::memory_order_relaxed),
          .mmio_exits = mmio_exits_.load(std::memory_order_relaxed),
          .port_exits = port_exits_.load(std::memory_order_relaxed),
          .thread_id = thread_id_.load(std::memory_order_relaxed),
          .last_exit = last_exit_.load(std::memory_order_relaxed)};
}

void VcpuThread::RequestGlance() {
  {
    absl::MutexLock lock(&glance_mutex_);
    glance_.reset();
  }
  control_.fetch_or(kGlance, std::memory_order_seq_cst);
  LeaveGuest();
  Signal();
}

std::optional<VcpuGlance> VcpuThread::TakeGlance() {
  absl::MutexLock lock(&glance_mutex_);
  return std::exchange(glance_, std::nullopt);
}

void VcpuThread::LookAround() {
  control_.fetch_and(~kGlance, std::memory_order_seq_cst);
  FinishAccess();
  if (dead_ || !callbacks_.glance) return;
  std::optional<VcpuGlance> glance = callbacks_.glance(*vcpu_);
  absl::MutexLock lock(&glance_mutex_);
  glance_ = glance;
}

int VcpuThread::CurrentIndex() { return current_index; }

void VcpuThread::Main() {
  kvm_run* const run = vcpu_->run();
  pthread_setname_np(pthread_self(), name().c_str());
  current_index = index_;
  SetKickTarget(&run->immediate_exit);
  thread_id_.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_seq_cst);
  if (callbacks_.before_first_run) callbacks_.before_first_run();
  while (true) {
    __atomic_store_n(&run->immediate_exit, uint8_t{0}, __ATOMIC_SEQ_CST);
    const uint32_t control = control_.load(std::memory_order_seq_cst);
    if ((control & kStop) != 0) break;
    if (!MayRun(control)) {
      StandStill();
    } else if ((control & kGlance) != 0) {
      LookAround();
    } else {
      RunOnce();
    }
  }
  SetKickTarget(nullptr);
  finished_.store(true, std::memory_order_release);
  if (callbacks_.on_parked) callbacks_.on_parked();
}

void VcpuThread::RunOnce() {
  const int error = vcpu_->Run();
  Count(exits_);
  unfinished_ = false;  // whatever it returned for, the access before was committed
  // EAGAIN: a vCPU that still waits for INIT/SIPI was woken.
  if (error == EINTR || error == EAGAIN) return;
  if (error == 0) {
    last_exit_.store(vcpu_->run()->exit_reason, std::memory_order_relaxed);
    HandleExit();
    return;
  }
  Fail({.kind = EndKind::kHostError,
        .message = absl::StrFormat("KVM_RUN of vCPU %d: %s", index_, strerror(error))});
}

void VcpuThread::FinishAccess() {
  // One instruction may make several accesses (a string instruction, one that crosses a page).
  constexpr int kMostAccesses = 4096;
  for (int i = 0; i < kMostAccesses && unfinished_ && !dead_; ++i) {
    LeaveGuest();
    RunOnce();
  }
}

void VcpuThread::StandStill() {
  FinishAccess();
  bool captured = false;
  auto publish = [this](std::atomic<uint32_t>* reached, uint32_t epoch) {
    if (reached->load(std::memory_order_relaxed) == epoch) return;
    reached->store(epoch, std::memory_order_release);
    if (callbacks_.on_parked) callbacks_.on_parked();
  };
  while (true) {
    const uint32_t control = control_.load(std::memory_order_seq_cst);
    if ((control & kStop) != 0 || MayRun(control)) break;
    const uint32_t epoch = control >> kEpochShift;
    publish(&parked_epoch_, epoch);
    if ((control & kCapture) != 0) {
      if (!captured && callbacks_.read_state) callbacks_.read_state(*vcpu_, slot_.get());
      captured = true;
      publish(&captured_epoch_, epoch);  // F5
    }
    FutexWait(control_, control, absl::InfiniteDuration());  // F6
  }
  parked_epoch_.store(kNobody, std::memory_order_relaxed);
  captured_epoch_.store(kNobody, std::memory_order_relaxed);
}

void VcpuThread::Fail(MachineEnd end) {
  dead_ = true;
  end.vcpu = index_;
  // Not behind a port or MMIO exit, so that the registers are those of the failing instruction.
  if (callbacks_.describe_registers) end.registers = callbacks_.describe_registers(*vcpu_);
  callbacks_.on_fatal(end);
}

void VcpuThread::HandleExit() {
  const kvm_run* const run = vcpu_->run();
  switch (run->exit_reason) {
    case KVM_EXIT_IO:
      unfinished_ = true;
      HandlePortExit();
      return;
    case KVM_EXIT_MMIO:
      unfinished_ = true;
      HandleMmioExit();
      return;
    case KVM_EXIT_IOAPIC_EOI:
      callbacks_.exits->EndOfInterrupt(run->eoi.vector);
      return;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return;
    default:
      Fail(FatalExit(*run));
      return;
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
