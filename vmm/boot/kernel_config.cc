#include "vmm/boot/kernel_config.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace stasis {

KernelConfig::KernelConfig(std::string text, std::string origin)
    : text_(absl::StrCat("\n", text)), origin_(std::move(origin)) {}

std::string KernelConfig::Lookup(absl::string_view option) const {
  const std::string line = absl::StrCat("\nCONFIG_", absl::StripPrefix(option, "CONFIG_"), "=");
  const size_t at = text_.find(line);
  if (at == std::string::npos) return "n";
  const size_t begin = at + line.size();
  absl::string_view value = absl::string_view(text_).substr(begin, text_.find('\n', begin) - begin);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    value = value.substr(1, value.size() - 2);
  }
  return std::string(value);
}

bool KernelConfig::IsEnabled(absl::string_view option) const {
  const std::string value = Lookup(option);
  return value == "y" || value == "m";
}

bool KernelConfig::IsBuiltIn(absl::string_view option) const { return Lookup(option) == "y"; }

}  // namespace stasis
