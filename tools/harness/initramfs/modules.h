// Kernel modules of a modules directory: which files are needed, in which order, unpacked.
#ifndef STASIS_TOOLS_HARNESS_INITRAMFS_MODULES_H_
#define STASIS_TOOLS_HARNESS_INITRAMFS_MODULES_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// modules.dep and modules.builtin of one kernel, which depmod and the kernel's build made.
class ModuleIndex {
 public:
  // `dir` is <...>/lib/modules/<release>. Error: NotFound when there is no modules.dep (run
  // depmod).
  static absl::StatusOr<ModuleIndex> Load(const std::string& dir);
  // From the files' text, for Load and for tests.
  static ModuleIndex FromText(absl::string_view modules_dep, absl::string_view modules_builtin);

  // Paths below the modules directory, dependencies before those that need them, each once.
  // Built-in modules need no file. Those in `wanted` that the kernel lacks are left out; those in
  // `required` are an error (NotFound, naming them).
  absl::StatusOr<std::vector<std::string>> Resolve(const std::vector<std::string>& wanted,
                                                   const std::vector<std::string>& required) const;

 private:
  absl::Status Visit(const std::string& path, std::set<std::string>* visiting,
                     std::vector<std::string>* order) const;

  std::map<std::string, std::string> path_by_name_;  // "virtio_mmio" → path
  std::map<std::string, std::vector<std::string>> deps_by_path_;
  std::set<std::string> builtin_;  // names
};

// "kernel/drivers/misc/pvpanic/pvpanic-mmio.ko.xz" → "pvpanic_mmio".
std::string ModuleName(absl::string_view path);

// The path without a compression suffix: "x.ko.xz" → "x.ko".
std::string UncompressedModulePath(absl::string_view path);

// A module's ELF bytes; .xz, .zst and .gz are unpacked. Errors: NotFound, FailedPrecondition (no
// ELF file or damaged, with the path).
absl::StatusOr<std::string> ReadModule(const std::string& path);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_INITRAMFS_MODULES_H_
