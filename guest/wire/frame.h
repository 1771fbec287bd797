// Frames: one message on one line, told apart from console text on the same wire.
//
// A frame is  RS "stasis " CRC " " JSON "\n"  where RS is the byte 0x1e and CRC the CRC-32 of the
// JSON as eight hexadecimal digits. JSON text holds no control characters, so that an RS always
// begins a new frame: after any damage (a kernel message printed into the middle of a line on a
// serial port) the decoder finds the next frame by itself.
#ifndef STASIS_GUEST_WIRE_FRAME_H_
#define STASIS_GUEST_WIRE_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stasis::wire {

inline constexpr size_t kMaxLine = 16 << 20;  // bytes of a frame, newline included

// The frame for `json`, which must be free of control characters and short enough for kMaxLine
// (both hold for what EncodeLine in messages.h makes).
std::string EncodeFrame(absl::string_view json);

// Takes bytes as they come and gives back whole frames and, separately, everything else. One
// thread; holds at most kMaxLine bytes. Nothing that the peer sends is fatal.
class Decoder {
 public:
  // Appends the payloads of the frames completed by `bytes` to `payloads`, and all bytes that
  // belong to no valid frame to `console`, in their order. Console text is held back only while it
  // may still turn out to be a frame.
  void Feed(absl::string_view bytes, std::vector<std::string>* payloads, std::string* console);

  // Frames that were damaged (bad CRC, cut short, too long); their bytes went to the console.
  uint64_t bad_frames() const { return bad_frames_; }

 private:
  void EndLine(std::vector<std::string>* payloads, std::string* console);
  void GiveUp(std::string* console);

  std::string line_;  // since the last RS, empty outside of a frame
  uint64_t bad_frames_ = 0;
};

}  // namespace stasis::wire

#endif  // STASIS_GUEST_WIRE_FRAME_H_
