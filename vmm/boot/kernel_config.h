// KernelConfig: the options that a kernel was built with, from IKCONFIG or from a .config file.
#ifndef STASIS_VMM_BOOT_KERNEL_CONFIG_H_
#define STASIS_VMM_BOOT_KERNEL_CONFIG_H_

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace stasis {

// Immutable, so that any thread may ask. The text is kept and searched as it is: a run asks for a
// dozen options of eight thousand.
class KernelConfig {
 public:
  // `text` in the format of .config; `origin` says where it is from, for messages: "IKCONFIG of
  // /boot/vmlinuz", "/boot/config-6.1.0".
  KernelConfig(std::string text, std::string origin);

  // The option's value: "y", "m", a number, or a string without its quotes; "n" if it is not set or
  // not known to this kernel. The name may come with or without CONFIG_.
  std::string Lookup(absl::string_view option) const;

  // True for y or m.
  bool IsEnabled(absl::string_view option) const;
  // True for y alone.
  bool IsBuiltIn(absl::string_view option) const;

  const std::string& text() const { return text_; }
  const std::string& origin() const { return origin_; }

 private:
  std::string text_;  // begins with a newline, so that every option follows one
  std::string origin_;
};

}  // namespace stasis

#endif  // STASIS_VMM_BOOT_KERNEL_CONFIG_H_
