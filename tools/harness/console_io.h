// ConsoleIo: the guest's consoles on this process's terminal or pipes.
#ifndef STASIS_TOOLS_HARNESS_CONSOLE_IO_H_
#define STASIS_TOOLS_HARNESS_CONSOLE_IO_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tools/harness/byte_channel.h"
#include "tools/harness/guest_session.h"
#include "tools/harness/terminal.h"

namespace stasis {

// Takes over the session's callbacks for bytes and windows. Input goes to hvc0 once the guest wrote
// there, before that to the serial port. While stdout is slow, the guest waits, and no byte is
// lost. Destroyed before the session.
class ConsoleIo {
 public:
  struct Options {
    bool serial = false;       // show the serial port, and write to it
    bool hvc0 = true;          // the same for hvc0
    bool escape_keys = false;  // Ctrl-A x ends the session
  };
  // Makes a terminal on descriptor 0 raw. Error: errno of epoll.
  static absl::StatusOr<std::unique_ptr<ConsoleIo>> Create(GuestSession* session, Options options);

  // For agents' messages besides; call after Create.
  void set_on_message(std::function<void(const wire::AgentMessage&)> on_message);

  // Puts the terminal back and writes out what is left. Call behind the session's Run. False: a
  // signal came before the reader had taken all.
  bool Finish();

 private:
  ConsoleIo(GuestSession* session, Options options) : session_(session), options_(options) {}
  absl::Status Open();
  void ShowBytes(absl::string_view bytes);
  void OnTyped(absl::string_view bytes);
  ByteChannel* Target();

  GuestSession* const session_;
  const Options options_;
  GuestSession::Callbacks callbacks_;
  EscapeKeys keys_;
  bool hvc0_alive_ = false;
  std::unique_ptr<RawTerminal> raw_;
  std::unique_ptr<ByteChannel> input_;
  std::unique_ptr<ByteChannel> output_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_CONSOLE_IO_H_
