// VcpuThread: the thread that runs one vCPU and dispatches its exits.
#ifndef STASIS_VMM_VCPU_VCPU_THREAD_H_
#define STASIS_VMM_VCPU_VCPU_THREAD_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "vmm/kvm/kvm.h"
#include "vmm/vcpu/exit_handler.h"
#include "vmm/vcpu/machine_end.h"

namespace stasis {

struct VcpuStats {
  uint64_t exits = 0;  // returns of KVM_RUN
  uint64_t mmio_exits = 0;
  uint64_t port_exits = 0;
  pid_t thread_id = 0;  // for run delay and CPU time in /proc; 0 before the start
};

// Owned by the machine. Start and Join are called by the machine's thread; RequestStop and stats by
// any. Between Start and Join only the thread itself touches the vCPU's registers.
class VcpuThread {
 public:
  struct Callbacks {
    ExitHandler* exits = nullptr;
    // On the vCPU thread, immediately before the first KVM_RUN.
    std::function<void()> before_first_run;
    // On the vCPU thread: the vCPU cannot go on. `end.registers` is filled in.
    std::function<void(const MachineEnd& end)> on_fatal;
    // Registers of a vCPU as text for a fatal end; called on the vCPU thread.
    std::function<std::string(const kvm::Vcpu&)> describe_registers;
  };

  VcpuThread(std::unique_ptr<kvm::Vcpu> vcpu, int index, Callbacks callbacks);
  ~VcpuThread();

  void Start();
  // Returns at once; the thread leaves the guest and ends.
  void RequestStop();
  void Join();

  int index() const { return index_; }
  const kvm::Vcpu& vcpu() const { return *vcpu_; }
  VcpuStats stats() const;

 private:
  void Main();
  // Handles the exit in kvm_run. False when the vCPU cannot go on.
  bool HandleExit();
  void HandlePortExit();
  void HandleMmioExit();
  void Fail(MachineEnd end);

  const std::unique_ptr<kvm::Vcpu> vcpu_;
  const int index_;
  const Callbacks callbacks_;

  std::atomic<bool> stop_{false};
  std::atomic<pid_t> thread_id_{0};
  // Written by the vCPU thread only; relaxed, since a reader wants no more than a recent number.
  std::atomic<uint64_t> exits_{0};
  std::atomic<uint64_t> mmio_exits_{0};
  std::atomic<uint64_t> port_exits_{0};
  std::thread thread_;
};

}  // namespace stasis

#endif  // STASIS_VMM_VCPU_VCPU_THREAD_H_
