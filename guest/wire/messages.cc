#include "guest/wire/messages.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "guest/wire/frame.h"

namespace stasis::wire {
namespace {

using fields::Json;

template <typename Message>
std::string Encode(const Message& message) {
  Json json = std::visit(
      [](const auto& body) {
        Json fields = fields::ToJson(body);
        fields["type"] = body.kType;
        return fields;
      },
      message);
  // ASCII only: text from the guest may be no UTF-8, and a frame holds no control characters.
  return EncodeFrame(json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace));
}

absl::Status CheckVersion(const Json& json) {
  auto it = json.find("protocol");
  if (it == json.end() || !it->is_number_unsigned()) {
    return absl::InvalidArgumentError("hello: no protocol version");
  }
  const uint64_t version = it->get<uint64_t>();
  if (version == kProtocolVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "protocol version mismatch: the guest agent speaks ", version, ", this program speaks ",
      kProtocolVersion, "; build both from the same source"));
}

template <typename Body, typename Message>
bool TryParse(const Json& json, const std::string& type, absl::StatusOr<Message>* out) {
  if (type != Body::kType) return false;
  if constexpr (std::is_same_v<Body, Hello>) {
    absl::Status status = CheckVersion(json);
    if (!status.ok()) {
      *out = status;
      return true;
    }
  }
  Body body;
  absl::Status status = fields::FromJson(json, &body);
  if (status.ok()) {
    *out = Message(std::move(body));
  } else {
    *out = absl::InvalidArgumentError(absl::StrCat(type, ": ", status.message()));
  }
  return true;
}

template <typename Message, size_t... kIndex>
absl::StatusOr<Message> ParseAs(absl::string_view text, std::index_sequence<kIndex...>) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("message is no JSON object");
  auto it = json.find("type");
  if (it == json.end() || !it->is_string()) {
    return absl::InvalidArgumentError("message has no type");
  }
  const std::string& type = it->get_ref<const std::string&>();
  absl::StatusOr<Message> out =
      absl::InvalidArgumentError(absl::StrCat("unknown message type '", type, "'"));
  (TryParse<std::variant_alternative_t<kIndex, Message>>(json, type, &out) || ...);
  return out;
}

template <typename Message>
absl::StatusOr<Message> Parse(absl::string_view text) {
  return ParseAs<Message>(text, std::make_index_sequence<std::variant_size_v<Message>>());
}

}  // namespace

absl::Span<const fields::EnumName<ErrorKind>> EnumNames(ErrorKind) {
  static constexpr fields::EnumName<ErrorKind> kNames[] = {
      {ErrorKind::kFailed, "failed"},
      {ErrorKind::kMissingFeature, "missing_feature"},
      {ErrorKind::kTooLate, "too_late"},
  };
  return kNames;
}

absl::Span<const fields::EnumName<ShutdownHow>> EnumNames(ShutdownHow) {
  static constexpr fields::EnumName<ShutdownHow> kNames[] = {
      {ShutdownHow::kEnd, "end"},
      {ShutdownHow::kPoweroff, "poweroff"},
      {ShutdownHow::kReboot, "reboot"},
      {ShutdownHow::kPanic, "panic"},
  };
  return kNames;
}

std::string EncodeLine(const AgentMessage& message) { return Encode(message); }
std::string EncodeLine(const HostMessage& message) { return Encode(message); }

absl::StatusOr<AgentMessage> ParseAgentMessage(absl::string_view json) {
  return Parse<AgentMessage>(json);
}

absl::StatusOr<HostMessage> ParseHostMessage(absl::string_view json) {
  return Parse<HostMessage>(json);
}

}  // namespace stasis::wire
