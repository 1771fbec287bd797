// Commands: the programs that the host asks for, by pipes over the wire or on the console.
#ifndef STASIS_GUEST_AGENT_COMMANDS_H_
#define STASIS_GUEST_AGENT_COMMANDS_H_

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "guest/wire/messages.h"

namespace stasis::agent {

inline constexpr char kConsoleDevice[] = "/dev/hvc0";

// Owned and used by the main thread, which polls what AddPollFds lists and passes child exits on.
class Commands {
 public:
  using Send = std::function<void(const wire::AgentMessage&)>;
  explicit Commands(Send send) : send_(std::move(send)) {}
  ~Commands();
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;

  // Every Start is answered by exactly one ExecExit, also when the program cannot be started. Start
  // does not wait for the child: a tested scheduler may not let it run for long.
  void Start(const wire::Exec& request);
  void Start(const wire::Shell& request);
  void Input(const wire::ExecInput& input);
  void Signal(const wire::ExecSignal& signal);

  void AddPollFds(std::vector<pollfd>* fds) const;
  void HandleEvents(const std::vector<pollfd>& fds);

  // The process of a command that runs; -1 if it does not.
  pid_t PidOf(uint32_t id) const;

  // True if `pid` was one of the commands. Its remaining output is sent, then ExecExit. Output of
  // processes that it left behind in the background is dropped from then on.
  bool OnChildExit(pid_t pid, int wait_status);

  // More input waits for a command than should be held: read no more from the host for now.
  bool InputIsFull() const;

 private:
  struct Command {
    uint32_t id = 0;
    int input = -1;            // writing end of its stdin; -1: closed, or on a terminal
    int output[2] = {-1, -1};  // reading ends of its stdout and stderr
    std::string pending;       // input that its pipe had no room for
    bool input_ended = false;
    int start_failure = -1;  // reading end: says what failed before the program ran
    std::string program;     // for that message
    std::string cwd;
  };
  void Launch(const wire::Exec& request);
  std::string StartError(const Command& command, int* code) const;
  static void Close(Command* command);
  void PumpInput(Command* command);
  // False at the end of the stream or when nothing more is there now.
  bool PumpOutput(Command* command, int stream);

  const Send send_;
  std::map<pid_t, Command> commands_;
};

}  // namespace stasis::agent

#endif  // STASIS_GUEST_AGENT_COMMANDS_H_
