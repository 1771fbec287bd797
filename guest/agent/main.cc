// The guest agent's entry point: /init of the test machine.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "guest/agent/agent.h"
#include "guest/agent/dump_request.h"

namespace {

int RequestDump() {
  const absl::Status status = stasis::agent::RequestDump();
  if (status.ok()) return 0;
  fprintf(stderr, "stasis-agent: %s\n", std::string(status.message()).c_str());
  return 1;
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
