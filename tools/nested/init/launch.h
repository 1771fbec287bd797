// Starting the program inside: pipes or a pseudo-terminal, working directory, environment.
#ifndef STASIS_TOOLS_NESTED_INIT_LAUNCH_H_
#define STASIS_TOOLS_NESTED_INIT_LAUNCH_H_

#include <string>

#include "tools/nested/init/relay.h"
#include "tools/nested/protocol.h"

namespace stasis::nested {

// Starts the program of `order` in a session of its own. On failure returns false with `error`
// saying what failed ("execute /bin/x: No such file or directory"). SIGCHLD must be blocked.
bool Launch(const Order& order, Program* program, std::string* error);

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_INIT_LAUNCH_H_
