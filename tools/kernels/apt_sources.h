// AptSources: which Debian mirror and key this system uses, read from its apt configuration.
#ifndef STASIS_TOOLS_KERNELS_APT_SOURCES_H_
#define STASIS_TOOLS_KERNELS_APT_SOURCES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stasis {

// One archive line of apt: a mirror with a suite.
struct AptSource {
  std::string uri;  // without a slash at the end
  std::string suite;
  std::vector<std::string> components;
  std::string signed_by;  // path of a keyring; empty: apt's own trust
};

// "deb [signed-by=/k.gpg] http://deb.debian.org/debian bookworm main" lines; others are skipped.
std::vector<AptSource> ParseOneLineSources(absl::string_view text);

// deb822 paragraphs ("Types: deb", "URIs: ...") of a .sources file, one entry for each URI and
// suite. Disabled ones and source packages are skipped; a key that is written out in the file is
// taken as apt's own trust.
std::vector<AptSource> ParseDeb822Sources(absl::string_view text);

struct AptSources {
  AptSource main;      // .../debian
  AptSource security;  // .../debian-security

  // A line of a sources list for `suite` ("sid", "bookworm-security") from the fitting mirror.
  std::string Line(const std::string& suite) const;
};

// Picks the Debian archive (its "main" component) out of what the system uses. Without a security
// entry the mirror's sibling "debian-security" is taken. Error: NotFound if there is none.
absl::StatusOr<AptSources> ChooseDebianSources(const std::vector<AptSource>& sources);

// Reads sources.list and sources.list.d below `apt_directory` ("/etc/apt").
absl::StatusOr<AptSources> SystemAptSources(const std::string& apt_directory);

}  // namespace stasis

#endif  // STASIS_TOOLS_KERNELS_APT_SOURCES_H_
