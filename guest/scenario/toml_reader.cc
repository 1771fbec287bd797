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
  errors_.push_back({where.begin.line, where.begin.column, std::string(what)});
}

std::vector<std::string> TomlReader::AllErrors() const {
  std::vector<std::string> all;
  for (const Error& error : errors_) {
    all.push_back(absl::StrCat(filename_, ":", error.line, ":", error.column, ": ", error.what));
  }
  return all;
}

absl::Status TomlReader::status() const {
  return errors_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(AllErrors().front());
}

void TomlReader::SortErrors() {
  std::stable_sort(errors_.begin(), errors_.end(), [](const Error& a, const Error& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
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
    const std::string word(key->str());
    if (auto it = keys.known.find(word); it != keys.known.end()) {
      it->second.read(*value);
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
  for (const toml::node& item : *array) read(item);
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

bool TomlReader::GetReal(const toml::node& node, absl::string_view key, double low, double high,
                         double* out) {
  const auto number = node.value<double>();
  if (!node.is_number() || !number.has_value() || !(*number >= low && *number <= high)) {
    Fail(node, absl::StrCat("'", key, "': expected a number from ", low, " to ", high));
    return false;
  }
  *out = *number;
  return true;
}

bool TomlReader::GetSize(const toml::node& node, absl::string_view key, const std::string& example,
                         uint64_t* bytes) {
  if (node.is_number()) {
    Fail(node, absl::StrCat("'", key,
                            "': a number without a unit; expected a size in quotes, such as \"",
                            example, "\""));
    return false;
  }
  std::string text;
  if (!Get(node, key, &text)) return false;
  auto size = ParseMemoryBytes(text);
  if (!size.ok()) {
    Fail(node, absl::StrCat("'", key, "': ", size.status().message()));
    return false;
  }
  *bytes = *size;
  return true;
}

bool TomlReader::GetOneOf(const toml::node& node, absl::string_view key, absl::string_view what,
                          const std::vector<std::string>& words, std::string* out) {
  if (!Get(node, key, out)) return false;
  if (std::find(words.begin(), words.end(), *out) != words.end()) return true;
  Fail(node, absl::StrCat("'", key, "': there is no ", what, " '", *out, "'",
                          NearMatchHint(*out, words), "; ",
                          words.empty() ? "none is defined"
                                        : absl::StrCat("expected ", absl::StrJoin(words, ", "))));
  return false;
}

bool TomlReader::GetCpus(const toml::node& node, absl::string_view key, std::string* out) {
  if (!Get(node, key, out)) return false;
  absl::Status status = CheckCpuExpression(*out);
  if (status.ok()) return true;
  Fail(node, absl::StrCat("'", key, "': ", status.message()));
  return false;
}

}  // namespace stasis
