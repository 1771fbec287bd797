// TomlReader: checked access to a TOML document, with errors that point at the place.
#ifndef STASIS_GUEST_SCENARIO_TOML_READER_H_
#define STASIS_GUEST_SCENARIO_TOML_READER_H_

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "guest/json/fields.h"
#include "guest/scenario/near_match.h"

namespace stasis {

// "a table", "an integer", ...: what a message says that was found.
absl::string_view TomlTypeName(const toml::node& node);

// Every Get returns false after an error. All errors of the file are kept; whoever checks something
// that an earlier error may have caused looks at errors() first. One thread.
class TomlReader {
 public:
  using Handler = std::function<void(const toml::node& value)>;
  // A key: what is done with its value, and what the reference page says of it.
  struct Key {
    Handler read;
    std::string form;  // "time", "CPUs", ...
    std::string what;

    Key() = default;
    template <typename Function>
      requires std::invocable<Function, const toml::node&>
    Key(Function function) : read(std::move(function)) {}  // NOLINT: `known["x"] = lambda`
  };
  // The keys of a kind of table. A key that is refused has a reason instead of a handler.
  struct Keys {
    std::map<std::string, Key> known;
    std::map<std::string, std::string> refused;

    void Add(const char* name, const char* form, const char* what, Handler read) {
      Key& key = known[name];
      key.read = std::move(read);
      key.form = form;
      key.what = what;
    }
  };

  explicit TomlReader(absl::string_view filename) : filename_(filename) {}

  // The first error: InvalidArgument "file:line:column: what", or OK.
  absl::Status status() const;
  size_t errors() const { return errors_.size(); }
  std::vector<std::string> AllErrors() const;
  // By their places in the file; they are found in another order.
  void SortErrors();
  const std::string& filename() const { return filename_; }

  void Fail(const toml::source_region& where, absl::string_view what);
  void Fail(const toml::node& where, absl::string_view what) { Fail(where.source(), what); }

  // Calls the handlers of the keys that are there, in the order of the file. A key without a
  // handler is an error, with near ones named. `name` is for messages; "" is the whole file.
  void ReadTable(const toml::node& node, absl::string_view name, const Keys& keys);
  void ReadEach(const toml::node& node, absl::string_view name,
                const std::function<void(const toml::node&)>& read);

  bool Get(const toml::node& node, absl::string_view key, std::string* out);
  bool Get(const toml::node& node, absl::string_view key, bool* out);
  bool Get(const toml::node& node, absl::string_view key, absl::Duration* out);
  bool GetPositive(const toml::node& node, absl::string_view key, absl::Duration* out);
  bool GetNumber(const toml::node& node, absl::string_view key, int64_t low, int64_t high,
                 int64_t* out);
  bool GetReal(const toml::node& node, absl::string_view key, double low, double high, double* out);
  bool GetFraction(const toml::node& node, absl::string_view key, double* out) {
    return GetReal(node, key, 0, 1, out);
  }
  bool GetSize(const toml::node& node, absl::string_view key, const std::string& example,
               uint64_t* bytes);
  // One of `words`, which are `what` ("cgroup").
  bool GetOneOf(const toml::node& node, absl::string_view key, absl::string_view what,
                const std::vector<std::string>& words, std::string* out);
  bool GetCpus(const toml::node& node, absl::string_view key, std::string* out);
  // A word that stands for an enumerator (fields::EnumNames).
  template <typename E>
  bool GetWord(const toml::node& node, absl::string_view key, E* out);

 private:
  struct Error {
    uint32_t line, column;
    std::string what;
  };
  const std::string filename_;
  std::vector<Error> errors_;
};

template <typename E>
bool TomlReader::GetWord(const toml::node& node, absl::string_view key, E* out) {
  std::string word;
  if (!Get(node, key, &word)) return false;
  if (auto value = fields::ByName<E>(word); value.has_value()) {
    *out = *value;
    return true;
  }
  std::vector<std::string> words;
  for (const auto& entry : EnumNames(E{})) words.push_back(entry.name);
  Fail(node, absl::StrCat("'", key, "': unknown word '", word, "'", NearMatchHint(word, words),
                          "; expected ", absl::StrJoin(words, ", ")));
  return false;
}

}  // namespace stasis

#endif  // STASIS_GUEST_SCENARIO_TOML_READER_H_
