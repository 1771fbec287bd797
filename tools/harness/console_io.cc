#include "tools/harness/console_io.h"

#include <unistd.h>

#include <utility>

namespace stasis {
namespace {

// Above this the guest's side is not read: its console then waits.
constexpr size_t kMostPendingOutput = 256 * 1024;
constexpr size_t kMostPendingInput = 64 * 1024;

}  // namespace

absl::StatusOr<std::unique_ptr<ConsoleIo>> ConsoleIo::Create(GuestSession* session,
                                                             Options options) {
  std::unique_ptr<ConsoleIo> io(new ConsoleIo(session, options));
  absl::Status status = io->Open();
  if (!status.ok()) return status;
  return io;
}

absl::Status ConsoleIo::Open() {
  auto show = [this](absl::string_view bytes) { ShowBytes(bytes); };
  if (options_.serial) callbacks_.on_serial = show;
  if (options_.hvc0) {
    callbacks_.on_hvc0 = [this](absl::string_view bytes) {
      hvc0_alive_ = true;
      ShowBytes(bytes);
    };
  }
  callbacks_.on_window = [this](WindowSize size) { session_->ResizeHvc0(size); };
  session_->set_callbacks(callbacks_);

  absl::StatusOr<std::unique_ptr<ByteChannel>> output =
      ByteChannel::Create(session_->loop(), STDOUT_FILENO, /*owned=*/false, {.on_drained = [this] {
                            session_->hvc0()->SetReading(true);
                            session_->serial()->SetReading(true);
                          }});
  if (!output.ok()) return output.status();
  output_ = *std::move(output);
  absl::StatusOr<std::unique_ptr<ByteChannel>> input =
      ByteChannel::Create(session_->loop(), STDIN_FILENO, /*owned=*/false,
                          {.on_bytes = [this](absl::string_view bytes) { OnTyped(bytes); }});
  // A closed stdin is no reason not to boot.
  if (input.ok()) input_ = *std::move(input);

  if (isatty(STDIN_FILENO)) {
    absl::StatusOr<std::unique_ptr<RawTerminal>> raw = RawTerminal::Enter(STDIN_FILENO);
    if (raw.ok()) raw_ = *std::move(raw);
    if (std::optional<WindowSize> size = TerminalSize(STDIN_FILENO)) session_->ResizeHvc0(*size);
  }
  return absl::OkStatus();
}

void ConsoleIo::set_on_message(std::function<void(const wire::AgentMessage&)> on_message) {
  callbacks_.on_message = std::move(on_message);
  session_->set_callbacks(callbacks_);
}

void ConsoleIo::ShowBytes(absl::string_view bytes) {
  output_->Write(bytes);
  if (output_->pending() < kMostPendingOutput) return;
  session_->hvc0()->SetReading(false);
  session_->serial()->SetReading(false);
}

ByteChannel* ConsoleIo::Target() {
  return options_.hvc0 && (hvc0_alive_ || !options_.serial) ? session_->hvc0() : session_->serial();
}

void ConsoleIo::OnTyped(absl::string_view bytes) {
  std::string guest;
  if (!options_.escape_keys || raw_ == nullptr) {
    guest = std::string(bytes);
  } else if (keys_.Feed(bytes, &guest)) {
    session_->End(EndCause::kHandler);
    return;
  }
  ByteChannel* target = Target();
  // A guest that does not read is not worth memory: what a person types beyond this is lost, as on
  // a serial line.
  if (target->pending() < kMostPendingInput) target->Write(guest);
}

bool ConsoleIo::Finish() {
  raw_.reset();  // first, so that Ctrl-C is a signal again
  return session_->Flush(output_.get(), STDOUT_FILENO);
}

}  // namespace stasis
