// One list of fields per structure, read and written as JSON: what host and agent agree on.
//
//   struct Heartbeat {
//     uint64_t seq = 0;
//     template <typename V, typename Self>
//     static void VisitFields(V& v, Self& self) { v("seq", self.seq); }
//   };
//   nlohmann::json json = fields::ToJson(heartbeat);
//   absl::Status status = fields::FromJson(json, &heartbeat);
//
// Fields named by v(...) must be there when reading; those named by v.Optional(...) keep their
// default when absent, and std::optional ones are left out when empty. Unknown keys are ignored, so
// that either side may be a little newer. Nothing here throws: the JSON comes from a guest.
#ifndef STASIS_GUEST_JSON_FIELDS_H_
#define STASIS_GUEST_JSON_FIELDS_H_

#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace stasis::fields {

using Json = nlohmann::json;

// The word that stands for an enumerator in JSON and in scenario files. An enum takes part by
// `absl::Span<const EnumName<E>> EnumNames(E)` in its own namespace.
template <typename E>
struct EnumName {
  E value;
  const char* name;
};

template <typename E>
std::string NameOf(E value) {
  for (const EnumName<E>& entry : EnumNames(value)) {
    if (entry.value == value) return entry.name;
  }
  return absl::StrCat("unknown(", static_cast<int>(value), ")");
}

template <typename E>
std::optional<E> ByName(absl::string_view name) {
  for (const EnumName<E>& entry : EnumNames(E{})) {
    if (name == entry.name) return entry.value;
  }
  return std::nullopt;
}

// Any bytes; base64 in JSON, which is text.
struct Bytes {
  std::string data;
};

template <typename T>
Json ToJson(const T& value);
template <typename T>
absl::Status FromJson(const Json& json, T* value);

namespace internal {

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsStringMap : std::false_type {};
template <typename T>
struct IsStringMap<std::map<std::string, T>> : std::true_type {};

class Writer {
 public:
  explicit Writer(Json* json) : json_(*json) {}

  template <typename T>
  void operator()(const char* key, const T& value) {
    if constexpr (IsOptional<T>::value) {
      if (value.has_value()) json_[key] = ToJson(*value);
    } else {
      json_[key] = ToJson(value);
    }
  }
  template <typename T>
  void Optional(const char* key, const T& value) {
    (*this)(key, value);
  }

 private:
  Json& json_;
};

class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  template <typename T>
  void operator()(const char* key, T& value) {
    if (!Read(key, value) && !IsOptional<T>::value && status_.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat(key, ": missing"));
    }
  }
  template <typename T>
  void Optional(const char* key, T& value) {
    Read(key, value);
  }
  const absl::Status& status() const { return status_; }

 private:
  template <typename T>
  bool Read(const char* key, T& value) {
    auto it = json_.find(key);
    if (it == json_.end()) return false;
    absl::Status status = FromJson(*it, &value);
    if (!status.ok() && status_.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat(key, ": ", status.message()));
    }
    return true;
  }

  const Json& json_;
  absl::Status status_;
};

inline absl::Status Expected(const char* what, const Json& json) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", what, ", found ", json.type_name()));
}

template <typename T>
absl::Status IntegerFromJson(const Json& json, T* value) {
  if (!json.is_number_integer()) return Expected("an integer", json);
  if (json.is_number_unsigned()) {
    const uint64_t number = json.get<uint64_t>();
    if (!std::in_range<T>(number)) return absl::InvalidArgumentError("integer out of range");
    *value = static_cast<T>(number);
  } else {
    const int64_t number = json.get<int64_t>();
    if (!std::in_range<T>(number)) return absl::InvalidArgumentError("integer out of range");
    *value = static_cast<T>(number);
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status VectorFromJson(const Json& json, std::vector<T>* value) {
  if (!json.is_array()) return Expected("an array", json);
  value->clear();
  value->reserve(json.size());
  for (const Json& element : json) {
    T item{};
    absl::Status status = FromJson(element, &item);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("[", value->size(), "]: ", status.message()));
    }
    value->push_back(std::move(item));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status MapFromJson(const Json& json, std::map<std::string, T>* value) {
  if (!json.is_object()) return Expected("an object", json);
  value->clear();
  for (auto it = json.begin(); it != json.end(); ++it) {
    T item{};
    absl::Status status = FromJson(it.value(), &item);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(it.key(), ": ", status.message()));
    }
    value->emplace(it.key(), std::move(item));
  }
  return absl::OkStatus();
}

}  // namespace internal

template <typename T>
Json ToJson(const T& value) {
  if constexpr (std::is_same_v<T, absl::Duration>) {
    return absl::ToInt64Nanoseconds(value);
  } else if constexpr (std::is_same_v<T, Bytes>) {
    return absl::Base64Escape(value.data);
  } else if constexpr (std::is_enum_v<T>) {
    return NameOf(value);
  } else if constexpr (internal::IsVector<T>::value) {
    Json json = Json::array();
    for (const auto& item : value) json.push_back(ToJson(item));
    return json;
  } else if constexpr (internal::IsStringMap<T>::value) {
    Json json = Json::object();
    for (const auto& [key, item] : value) json[key] = ToJson(item);
    return json;
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (requires { value.ToString(); }) {
    return value.ToString();
  } else {
    Json json = Json::object();
    internal::Writer writer(&json);
    T::VisitFields(writer, value);
    return json;
  }
}

template <typename T>
absl::Status FromJson(const Json& json, T* value) {
  if constexpr (std::is_same_v<T, absl::Duration>) {
    int64_t ns = 0;
    absl::Status status = internal::IntegerFromJson(json, &ns);
    if (status.ok()) *value = absl::Nanoseconds(ns);
    return status;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return internal::Expected("true or false", json);
    *value = json.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    return internal::IntegerFromJson(json, value);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!json.is_number()) return internal::Expected("a number", json);
    *value = json.get<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) return internal::Expected("a string", json);
    *value = json.get_ref<const std::string&>();
  } else if constexpr (std::is_same_v<T, Bytes>) {
    if (!json.is_string()) return internal::Expected("base64 text", json);
    if (!absl::Base64Unescape(json.get_ref<const std::string&>(), &value->data)) {
      return absl::InvalidArgumentError("bad base64");
    }
  } else if constexpr (std::is_enum_v<T>) {
    if (!json.is_string()) return internal::Expected("a word", json);
    const std::string& name = json.get_ref<const std::string&>();
    std::optional<T> found = ByName<T>(name);
    if (!found.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown word '", name, "'"));
    }
    *value = *found;
  } else if constexpr (internal::IsOptional<T>::value) {
    if (json.is_null()) {
      value->reset();
    } else {
      return FromJson(json, &value->emplace());
    }
  } else if constexpr (internal::IsVector<T>::value) {
    return internal::VectorFromJson(json, value);
  } else if constexpr (internal::IsStringMap<T>::value) {
    return internal::MapFromJson(json, value);
  } else if constexpr (requires { T::Parse(absl::string_view()); }) {
    if (!json.is_string()) return internal::Expected("a string", json);
    auto parsed = T::Parse(json.get_ref<const std::string&>());
    if (!parsed.ok()) return parsed.status();
    *value = *std::move(parsed);
  } else {
    if (!json.is_object()) return internal::Expected("an object", json);
    internal::Reader reader(json);
    T::VisitFields(reader, *value);
    return reader.status();
  }
  return absl::OkStatus();
}

}  // namespace stasis::fields

#endif  // STASIS_GUEST_JSON_FIELDS_H_
