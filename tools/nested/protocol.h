// What the emulated host's init and the program outside must agree on: order, port names, messages.
#ifndef STASIS_TOOLS_NESTED_PROTOCOL_H_
#define STASIS_TOOLS_NESTED_PROTOCOL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stasis::nested {

// Linked into the static init as well: the standard library only.

// Where the initramfs keeps what init reads.
inline constexpr char kOrderPath[] = "/order";
inline constexpr char kModuleDirectory[] = "/modules";

// Names of the virtio-serial ports. Data ports carry bytes as they are.
inline constexpr char kControlPort[] = "stasis.control";
inline constexpr char kStdinPort[] = "stasis.stdin";
inline constexpr char kStdoutPort[] = "stasis.stdout";
inline constexpr char kStderrPort[] = "stasis.stderr";

// The 9p export of the whole tree, and the prefix of the writable ones ("w0", "w1", ...).
inline constexpr char kRootTag[] = "root";
inline constexpr char kWritableTagPrefix[] = "w";

struct WindowSize {
  uint16_t rows = 0;
  uint16_t columns = 0;
  bool operator==(const WindowSize&) const = default;
};

// What init is to do: written into the initramfs, so that nothing has to be waited for.
struct Order {
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> env;
  std::string working_directory = "/";
  std::vector<std::string> writable;  // mounted from export w<index> at the same path
  std::vector<std::string> modules;   // "file.ko parameters", in load order
  // Which of the program's descriptors 0, 1, 2 are the terminal; the others are pipes.
  bool terminal[3] = {false, false, false};
  // The terminal outside is raw: the pty inside does echo, line editing and Ctrl-C.
  bool raw = false;
  WindowSize window;
};

// One "key=value" per record, records end with NUL (values may hold any other byte).
std::string EncodeOrder(const Order& order);
// Nothing when a record has no '=', has an unknown key or a number out of range.
std::optional<Order> DecodeOrder(std::string_view bytes);

// Control messages: lines of a word and its arguments, below the size that a port writes at once.
struct ControlMessage {
  enum class Kind {
    // From init.
    kHello,    // text: kernel release
    kStarted,  // the program was executed
    kBeat,     // a: sequence number; once a second
    kExit,     // code; a, b: bytes sent on stdout and stderr ports. Files are synced.
    kFailed,   // text: what init could not do
    // To init.
    kSignal,    // code: signal for the program
    kWindow,    // a: rows, b: columns
    kStdinEnd,  // a: bytes sent on the stdin port
    kNudge,     // nothing to do: its interrupt is the point (session.h)
  };
  Kind kind = Kind::kHello;
  int code = 0;
  uint64_t a = 0;
  uint64_t b = 0;
  std::string text;
};

inline constexpr size_t kMaxControlLine = 4096;

// Returns the line with its newline; text loses its own newlines.
std::string EncodeControl(const ControlMessage& message);
// Nothing for what is no message (`line` is without the newline).
std::optional<ControlMessage> DecodeControl(std::string_view line);

// Cuts a byte stream into lines. Lines longer than kMaxControlLine are dropped.
class LineReader {
 public:
  void Append(std::string_view bytes);
  std::optional<std::string> Next();

 private:
  std::string pending_;
};

}  // namespace stasis::nested

#endif  // STASIS_TOOLS_NESTED_PROTOCOL_H_
