// The guest agent's entry point: /init of the test machine.
#include <stdio.h>
#include <unistd.h>

#include "guest/agent/agent.h"

int main() {
  if (getpid() != 1) {
    fprintf(stderr, "stasis-agent: runs only as PID 1 of a test machine\n");
    return 2;
  }
  stasis::agent::Agent agent;
  agent.Run();
}
