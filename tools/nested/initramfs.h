// The emulated host's initramfs: init, its order and its modules, in anonymous memory.
#ifndef STASIS_TOOLS_NESTED_INITRAMFS_H_
#define STASIS_TOOLS_NESTED_INITRAMFS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/nested/protocol.h"

namespace stasis::nested {

// Returns a descriptor (the caller's, close-on-exec) of a memfd with an uncompressed newc archive:
// copying is cheaper for the emulated CPU than unpacking. Compressed modules are unpacked. The
// module lines of `order` are filled in from `modules`; `kvm_amd_options` are added to kvm-amd's.
// Error: errno text with the file that could not be read.
absl::StatusOr<int> BuildInitramfs(Order order, const std::vector<std::string>& modules,
                                   const std::string& kvm_amd_options);

// The static init that was built into this program.
std::string_view EmbeddedInit();

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_INITRAMFS_H_
