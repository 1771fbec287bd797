#include "guest/scenario/toml_reader.h"

#include <algorithm>
#include <utility>

#include "guest/scenario/cpu_set.h"
#include "guest/scenario/units.h"

namespace stasis {

absl::string_view TomlTypeName(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a fraction";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

void TomlReader::Fail(const toml::source_region& where, absl::string_view what) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(
      absl::StrCat(filename_, ":", where.begin.line, ":", where.begin.column, ": ", what));
}

void TomlReader::ReadTable(const toml::node& node, absl::string_view name, const Keys& keys) {
  const toml::table* table = node.as_table();
  if (table == nullptr) {
    Fail(node, absl::StrCat("'", name, "': expected a table, found ", TomlTypeName(node)));
    return;
  }
  // In the order of the file, so that the first mistake is the one that is reported.
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (auto&& [key, value] : *table) entries.emplace_back(&key, &value);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    const toml::source_position& x = a.first->source().begin;
    const toml::source_position& y = b.first->source().begin;
    return std::pair(x.line, x.column) < std::pair(y.line, y.column);
  });
  for (const auto& [key, value] : entries) {
    if (!status_.ok()) return;
    const std::string word(key->str());
    if (auto it = keys.known.find(word); it != keys.known.end()) {
      it->second(*value);
    } else if (auto no = keys.refused.find(word); no != keys.refused.end()) {
      Fail(key->source(), absl::StrCat("'", word, "' is not supported yet: ", no->second));
    } else {
      std::vector<std::string> words;
      for (const auto& [known, handler] : keys.known) words.push_back(known);
      Fail(key->source(),
           absl::StrCat("unknown key '", word, "'", name.empty() ? "" : absl::StrCat(" in ", name),
                        NearMatchHint(word, words)));
    }
  }
}

void TomlReader::ReadEach(const toml::node& node, absl::string_view name,
                          const std::function<void(const toml::node&)>& read) {
  const toml::array* array = node.as_array();
  if (array == nullptr) {
    Fail(node, absl::StrCat("'", name, "': expected an array, found ", TomlTypeName(node)));
    return;
  }
  for (const toml::node& item : *array) {
    if (!status_.ok()) return;
    read(item);
  }
}

bool TomlReader::Get(const toml::node& node, absl::string_view key, std::string* out) {
  const auto* value = node.as_string();
  if (value == nullptr) {
    Fail(node, absl::StrCat("'", key, "': expected a string, found ", TomlTypeName(node)));
    return false;
  }
  *out = value->get();
  return true;
}

bool TomlReader::Get(const toml::node& node, absl::string_view key, bool* out) {
  const auto* value = node.as_boolean();
  if (value == nullptr) {
    Fail(node, absl::StrCat("'", key, "': expected true or false, found ", TomlTypeName(node)));
    return false;
  }
  *out = value->get();
  return true;
}

bool TomlReader::Get(const toml::node& node, absl::string_view key, absl::Duration* out) {
  if (node.is_number()) {
    Fail(node, absl::StrCat("'", key,
                            "': a number without a unit; expected a time in quotes, such "
                            "as \"10s\" or \"5ms\""));
    return false;
  }
  std::string text;
  if (!Get(node, key, &text)) return false;
  auto duration = ParseDuration(text);
  if (!duration.ok()) {
    Fail(node, absl::StrCat("'", key, "': ", duration.status().message()));
    return false;
  }
  *out = *duration;
  return true;
}

bool TomlReader::GetPositive(const toml::node& node, absl::string_view key, absl::Duration* out) {
  if (!Get(node, key, out)) return false;
  if (*out > absl::ZeroDuration()) return true;
  Fail(node, absl::StrCat("'", key, "': must be longer than 0"));
  return false;
}

bool TomlReader::GetNumber(const toml::node& node, absl::string_view key, int64_t low, int64_t high,
                           int64_t* out) {
  const auto* value = node.as_integer();
  if (value == nullptr) {
    Fail(node, absl::StrCat("'", key, "': expected an integer, found ", TomlTypeName(node)));
    return false;
  }
  if (value->get() < low || value->get() > high) {
    Fail(node, absl::StrCat("'", key, "': ", value->get(), " is out of range; expected ", low,
                            " to ", high));
    return false;
  }
  *out = value->get();
  return true;
}

bool TomlReader::GetFraction(const toml::node& node, absl::string_view key, double* out) {
  const auto number = node.value<double>();
  if (!node.is_number() || !number.has_value() || !(*number >= 0 && *number <= 1)) {
    Fail(node, absl::StrCat("'", key, "': expected a number from 0 to 1"));
    return false;
  }
  *out = *number;
  return true;
}

bool TomlReader::GetCpus(const toml::node& node, absl::string_view key, std::string* out) {
  if (!Get(node, key, out)) return false;
  absl::Status status = CheckCpuExpression(*out);
  if (status.ok()) return true;
  Fail(node, absl::StrCat("'", key, "': ", status.message()));
  return false;
}

}  // namespace stasis
