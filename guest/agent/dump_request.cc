#include "guest/agent/dump_request.h"

#include <errno.h>
#include <sys/io.h>

#include "absl/strings/str_cat.h"

namespace stasis::agent {
namespace {

// A write asks the host for a dump (devices/power/dump_request.h).
constexpr int kDumpRequestPort = 0x506;

}  // namespace

absl::Status RequestDump() {
  if (ioperm(kDumpRequestPort, 1, 1) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("access to port ", kDumpRequestPort));
  }
  outb(1, kDumpRequestPort);
  return absl::OkStatus();
}

}  // namespace stasis::agent
