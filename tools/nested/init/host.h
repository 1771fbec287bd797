// Making a host of the emulated machine: modules, virtio-serial ports, the shared tree.
#ifndef STASIS_TOOLS_NESTED_INIT_HOST_H_
#define STASIS_TOOLS_NESTED_INIT_HOST_H_

#include <string>

#include "tools/nested/init/relay.h"
#include "tools/nested/protocol.h"

namespace stasis::nested {

// Every function returns false with `error` saying what failed.

// /proc, /sys and /dev of the initramfs.
bool MountEarly(std::string* error);
// In the order given; a module that is there already is no error.
bool LoadModules(const Order& order, std::string* error);
// Waits a few seconds for the ports to appear; they are opened non-blocking.
bool OpenPorts(Ports* ports, std::string* error);
// The outside's tree becomes the root: read-only as a whole, /tmp, /var/tmp and /run with a
// throw-away layer above, the order's writable directories shared for good.
bool EnterSharedTree(const Order& order, std::string* error);
// Writes back and unmounts the writable directories.
bool ReleaseSharedTree(const Order& order, std::string* error);

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_INIT_HOST_H_
