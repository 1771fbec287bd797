// The guest agent's entry point: /init of the test machine.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <unistd.h>

#include "guest/agent/agent.h"

namespace {

// A write asks the host for a dump (devices/power/dump_request.h).
constexpr int kDumpRequestPort = 0x506;

int RequestDump() {
  if (ioperm(kDumpRequestPort, 1, 1) != 0) {
    fprintf(stderr, "stasis-agent: access to port %#x: %s\n", kDumpRequestPort, strerror(errno));
    return 1;
  }
  outb(1, kDumpRequestPort);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "dump") == 0) return RequestDump();
  if (getpid() != 1) {
    fprintf(stderr,
            "stasis-agent: runs only as PID 1 of a test machine; '/init dump' asks for a dump\n");
    return 2;
  }
  stasis::agent::Agent agent;
  agent.Run();
}
