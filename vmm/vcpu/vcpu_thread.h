// VcpuThread: the thread that runs one vCPU: run loop, exit dispatch, standing still, stopping.
#ifndef STASIS_VMM_VCPU_VCPU_THREAD_H_
#define STASIS_VMM_VCPU_VCPU_THREAD_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "vmm/freeze/participant.h"
#include "vmm/kvm/kvm.h"
#include "vmm/vcpu/exit_handler.h"
#include "vmm/vcpu/machine_end.h"
#include "vmm/vcpu/vcpu_state.h"

namespace stasis {

struct VcpuStats {
  static constexpr uint32_t kNoExit = ~uint32_t{0};

  uint64_t exits = 0;  // returns of KVM_RUN
  uint64_t mmio_exits = 0;
  uint64_t port_exits = 0;
  pid_t thread_id = 0;           // for run delay and CPU time in /proc; 0 before the start
  uint32_t last_exit = kNoExit;  // KVM_EXIT_..., of the last one that was no signal's
};

// Owned by the machine. Start and Join are called by the machine's thread; RequestStop, Hold and
// stats by any; the participant's members by the freeze coordinator. Between Start and Join only
// the thread itself touches the vCPU's registers.
class VcpuThread : public FreezeParticipant {
 public:
  struct Callbacks {
    ExitHandler* exits = nullptr;
    // On the vCPU thread, immediately before the first KVM_RUN.
    std::function<void()> before_first_run;
    // On the vCPU thread: the vCPU cannot go on. `end.registers` is filled in. The callee holds or
    // stops the vCPU.
    std::function<void(const MachineEnd& end)> on_fatal;
    // Registers of a vCPU as text for a fatal end; called on the vCPU thread.
    std::function<std::string(const kvm::Vcpu&)> describe_registers;
    // On the vCPU thread, parked: keeps the vCPU's state in the slot (F5).
    std::function<void(const kvm::Vcpu&, VcpuState* slot)> read_state;
    // On the vCPU thread: see RequestGlance.
    std::function<std::optional<VcpuGlance>(const kvm::Vcpu&)> glance;
    // On the vCPU thread: it is parked, or has kept its state, or is at its end.
    std::function<void()> on_parked;
  };

  VcpuThread(std::unique_ptr<kvm::Vcpu> vcpu, int index, Callbacks callbacks,
             std::unique_ptr<VcpuState> slot);
  ~VcpuThread() override;

  void Start();
  // Returns at once; the thread leaves the guest and ends.
  void RequestStop();
  // Returns at once; the thread leaves the guest and stands still until RequestStop, whatever thaws
  // (the machine has ended, and its last state is of interest).
  void Hold();
  void Join();

  int index() const { return index_; }
  const kvm::Vcpu& vcpu() const { return *vcpu_; }
  VcpuStats stats() const;
  // The state that the thread kept once it stood still. Null unless it stands still now and has;
  // valid until the thaw.
  const VcpuState* state() const;

  // Makes the thread leave the guest for the moment that it takes to look at a few registers; no
  // other vCPU notices. Returns at once, from any thread. TakeGlance gives what the last request
  // brought, once; nothing while it has not come (the thread stands still, or is in a system call).
  void RequestGlance();
  std::optional<VcpuGlance> TakeGlance();

  // The vCPU whose thread this is, or -1.
  static int CurrentIndex();

  // FreezeParticipant
  std::string name() const override;
  ParticipantKind kind() const override { return ParticipantKind::kVcpu; }
  void RequestPark(uint64_t epoch) override;
  void Signal() override;
  void SignalAgain() override { Signal(); }
  bool IsParked(uint64_t epoch) const override;
  void RequestCapture() override;
  bool IsCaptured(uint64_t epoch) const override;
  void Unpark() override;
  pid_t thread_id() const override { return thread_id_.load(std::memory_order_relaxed); }
  std::string last_exit() const override;

 private:
  bool HasReached(const std::atomic<uint32_t>& reached, uint64_t epoch) const;
  // control_: flags, and above them the epoch of the last freeze that asked.
  static constexpr uint32_t kStop = 1;
  static constexpr uint32_t kPark = 2;
  static constexpr uint32_t kHold = 4;
  static constexpr uint32_t kCapture = 8;
  static constexpr uint32_t kGlance = 16;
  static constexpr uint32_t kFlags = 31;
  static constexpr int kEpochShift = 5;

  void Main();
  // Enters the guest once and handles the exit.
  void RunOnce();
  void LookAround();
  // Until it may go on or must stop.
  void StandStill();
  // F4: lets KVM commit the access that the last exit was for.
  void FinishAccess();
  bool MayRun(uint32_t control) const { return !dead_ && (control & (kPark | kHold)) == 0; }
  void LeaveGuest();
  // Handles the exit in kvm_run.
  void HandleExit();
  void HandlePortExit();
  void HandleMmioExit();
  void Fail(MachineEnd end);

  const std::unique_ptr<kvm::Vcpu> vcpu_;
  const int index_;
  const Callbacks callbacks_;
  const std::unique_ptr<VcpuState> slot_;  // the thread's but while it stands still

  std::atomic<uint32_t> control_{0};  // a futex
  // Of the epoch in control_, while it stands still; kNobody while it runs.
  static constexpr uint32_t kNobody = ~uint32_t{0};
  std::atomic<uint32_t> parked_epoch_{kNobody};
  std::atomic<uint32_t> captured_epoch_{kNobody};  // the same, once the slot holds its state
  absl::Mutex glance_mutex_;
  std::optional<VcpuGlance> glance_ ABSL_GUARDED_BY(glance_mutex_);
  std::atomic<bool> started_{false};
  std::atomic<bool> finished_{false};
  std::atomic<pid_t> thread_id_{0};
  // The thread's own.
  bool dead_ = false;        // it cannot enter the guest any more
  bool unfinished_ = false;  // the last exit was a port or MMIO access that KVM has not committed
  // Written by the vCPU thread only; relaxed, since a reader wants no more than a recent number.
  std::atomic<uint64_t> exits_{0};
  std::atomic<uint64_t> mmio_exits_{0};
  std::atomic<uint64_t> port_exits_{0};
  std::atomic<uint32_t> last_exit_{VcpuStats::kNoExit};
  std::thread thread_;
};

}  // namespace stasis

#endif  // STASIS_VMM_VCPU_VCPU_THREAD_H_
