// One measured boot of a guest, in stasis or in QEMU's microvm machine.
#ifndef STASIS_TOOLS_BENCH_BOOTS_H_
#define STASIS_TOOLS_BENCH_BOOTS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tools/bench/memory_use.h"

namespace stasis::bench {

struct BootSpec {
  std::string stasis;             // paths
  std::string qemu;               //
  std::string kernel;             // for stasis: what --kernel gets
  std::string initrd;             // what QEMU gets; stasis finds the same image in the cache
  std::string cmdline;            // for QEMU: the words that stasis gives its guest
  bool acpi = true;               // discovery of the virtio devices
  std::string scratch_directory;  // for result files
  uint32_t cpus = 1;
  uint64_t memory_bytes = 0;
  absl::Duration limit = absl::Seconds(60);      // until hello
  absl::Duration end_limit = absl::Seconds(60);  // from then to the end of the process
};

// CPU time of the process spent in a stage, and elapsed time.
struct StageCost {
  std::string name;
  absl::Duration cpu;
  absl::Duration elapsed;
};

// stasis' way to the first KVM_RUN; stages add up to the whole.
struct Startup {
  absl::Duration cpu;
  absl::Duration elapsed;  // from the start of the process
  std::vector<StageCost> stages;
};

struct Boot {
  absl::Duration to_hello;  // from the start of the process
  MemoryUse memory;
};

struct StasisBoot {
  Boot boot;
  Startup startup;
};

// `stasis shell --exec`, ended by the command's end. Errors: Aborted, DeadlineExceeded (with the
// last words of the process), Internal (its JSON result is not as documented).
absl::StatusOr<StasisBoot> BootInStasis(const BootSpec& spec);

// Only until the first KVM_RUN counts: the guest is ended a second or two later, wherever it is.
// For a KVM that cannot run a stock kernel but can be made to start one.
absl::StatusOr<Startup> StartStasis(const BootSpec& spec);

// `image`: a bzImage, or an ELF image with a PVH note. The guest ends the machine by itself.
// Errors as for BootInStasis.
absl::StatusOr<Boot> BootInQemu(const BootSpec& spec, const std::string& image);

// QEMU's arguments; the agent's port is descriptor 3.
std::vector<std::string> QemuArguments(const BootSpec& spec, const std::string& image);

// From the text of `stasis shell --json` (docs/result-json.md). Error: Internal, saying what is
// missing.
struct ShellTimes {
  Startup startup;
  absl::Duration to_hello;  // InfiniteDuration without a hello
};
absl::StatusOr<ShellTimes> ParseShellJson(const std::string& text, absl::Time process_started);

}  // namespace stasis::bench

#endif  // STASIS_TOOLS_BENCH_BOOTS_H_
