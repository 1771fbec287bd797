#include "tools/nested/protocol.h"

#include <charconv>

namespace stasis::nested {
namespace {

template <typename T>
std::optional<T> Number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Takes the text before the first `separator` off `rest`; all of it when there is none.
std::string_view TakeUntil(std::string_view& rest, char separator) {
  const size_t at = rest.find(separator);
  const std::string_view head = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return head;
}

bool ApplyRecord(std::string_view key, std::string_view value, Order& order) {
  if (key == "arg") {
    order.argv.emplace_back(value);
  } else if (key == "env") {
    const std::string_view name = TakeUntil(value, '=');
    order.env.emplace_back(name, value);
  } else if (key == "cwd") {
    order.working_directory = value;
  } else if (key == "writable") {
    order.writable.emplace_back(value);
  } else if (key == "module") {
    order.modules.emplace_back(value);
  } else if (key == "terminal") {
    const auto descriptor = Number<unsigned>(value);
    if (!descriptor || *descriptor > 2) return false;
    order.terminal[*descriptor] = true;
  } else if (key == "raw") {
    order.raw = value == "1";
  } else if (key == "window") {
    const auto rows = Number<uint16_t>(TakeUntil(value, ' '));
    const auto columns = Number<uint16_t>(value);
    if (!rows || !columns) return false;
    order.window = {*rows, *columns};
  } else {
    return false;
  }
  return true;
}

using Kind = ControlMessage::Kind;

struct Form {
  Kind kind;
  const char* word;
  const char* fields;  // in order: c = code, a, b = numbers, t = text up to the end
};

constexpr Form kForms[] = {
    {Kind::kHello, "hello", "t"},    {Kind::kStarted, "started", ""},
    {Kind::kBeat, "beat", "a"},      {Kind::kExit, "exit", "cab"},
    {Kind::kFailed, "failed", "t"},  {Kind::kSignal, "signal", "c"},
    {Kind::kWindow, "window", "ab"}, {Kind::kStdinEnd, "stdin-end", "a"},
    {Kind::kNudge, "nudge", ""},
};

bool ReadField(char field, std::string_view& rest, ControlMessage& message) {
  if (field == 't') {
    message.text = rest;
    rest = {};
    return true;
  }
  const std::string_view word = TakeUntil(rest, ' ');
  if (field == 'c') {
    const auto code = Number<int>(word);
    if (code) message.code = *code;
    return code.has_value();
  }
  const auto number = Number<uint64_t>(word);
  if (number) (field == 'a' ? message.a : message.b) = *number;
  return number.has_value();
}

}  // namespace

std::string EncodeOrder(const Order& order) {
  std::string out;
  auto record = [&out](std::string_view key, std::string_view value) {
    out.append(key).append(1, '=').append(value).append(1, '\0');
  };
  for (const std::string& arg : order.argv) record("arg", arg);
  for (const auto& [name, value] : order.env) record("env", name + "=" + value);
  record("cwd", order.working_directory);
  for (const std::string& path : order.writable) record("writable", path);
  for (const std::string& module : order.modules) record("module", module);
  for (int i = 0; i < 3; ++i) {
    if (order.terminal[i]) record("terminal", std::to_string(i));
  }
  record("raw", order.raw ? "1" : "0");
  record("window", std::to_string(order.window.rows) + " " + std::to_string(order.window.columns));
  return out;
}

std::optional<Order> DecodeOrder(std::string_view bytes) {
  Order order;
  while (!bytes.empty()) {
    std::string_view value = TakeUntil(bytes, '\0');
    if (value.find('=') == std::string_view::npos) return std::nullopt;
    const std::string_view key = TakeUntil(value, '=');
    if (!ApplyRecord(key, value, order)) return std::nullopt;
  }
  return order;
}

std::string EncodeControl(const ControlMessage& message) {
  std::string line;
  for (const Form& form : kForms) {
    if (form.kind != message.kind) continue;
    line = form.word;
    for (const char* field = form.fields; *field != '\0'; ++field) {
      line += ' ';
      if (*field == 'c') line += std::to_string(message.code);
      if (*field == 'a') line += std::to_string(message.a);
      if (*field == 'b') line += std::to_string(message.b);
      if (*field == 't') line += message.text;
    }
  }
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  if (line.size() >= kMaxControlLine) line.resize(kMaxControlLine - 1);
  return line + '\n';
}

std::optional<ControlMessage> DecodeControl(std::string_view line) {
  const std::string_view word = TakeUntil(line, ' ');
  for (const Form& form : kForms) {
    if (word != form.word) continue;
    ControlMessage message;
    message.kind = form.kind;
    for (const char* field = form.fields; *field != '\0'; ++field) {
      if (!ReadField(*field, line, message)) return std::nullopt;
    }
    if (!line.empty()) return std::nullopt;
    return message;
  }
  return std::nullopt;
}

void LineReader::Append(std::string_view bytes) { pending_.append(bytes); }

std::optional<std::string> LineReader::Next() {
  for (;;) {
    const size_t end = pending_.find('\n');
    if (end == std::string::npos) {
      // Keeps the size bounded; the rest of the long line then reads as no message.
      if (pending_.size() > kMaxControlLine) pending_.erase(0, pending_.size() - kMaxControlLine);
      return std::nullopt;
    }
    std::string line = pending_.substr(0, end);
    pending_.erase(0, end + 1);
    if (line.size() < kMaxControlLine) return line;
  }
}

}  // namespace stasis::nested
