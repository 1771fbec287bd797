#include "tools/harness/initramfs/dependencies.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <limits.h>
#include <unistd.h>

#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/harness/initramfs/files.h"

namespace stasis {
namespace {

struct ElfFacts {
  bool dynamic = false;     // has a dynamic section
  std::string interpreter;  // PT_INTERP
  uint16_t machine = EM_NONE;
};

// nullopt when the file is no (whole) ELF file.
std::optional<ElfFacts> ReadElf(int fd) {
  if (elf_version(EV_CURRENT) == EV_NONE) return std::nullopt;
  Elf* elf = elf_begin(fd, ELF_C_READ, nullptr);
  if (elf == nullptr) return std::nullopt;
  absl::Cleanup end = [elf] { elf_end(elf); };
  GElf_Ehdr header;
  size_t count = 0;
  if (elf_kind(elf) != ELF_K_ELF || gelf_getehdr(elf, &header) == nullptr ||
      elf_getphdrnum(elf, &count) != 0) {
    return std::nullopt;
  }
  ElfFacts facts;
  facts.machine = header.e_machine;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr) return std::nullopt;
    if (segment.p_type == PT_DYNAMIC) facts.dynamic = true;
    if (segment.p_type == PT_INTERP && segment.p_filesz > 1 && segment.p_filesz < PATH_MAX) {
      facts.interpreter.resize(segment.p_filesz - 1);  // without its NUL
      if (pread(fd, facts.interpreter.data(), facts.interpreter.size(),
                static_cast<off_t>(segment.p_offset)) !=
          static_cast<ssize_t>(facts.interpreter.size())) {
        return std::nullopt;
      }
    }
  }
  return facts;
}

// A shared library names no loader: the one of a program of this system will do.
std::string LoaderFor(const ElfFacts& facts) {
  if (!facts.interpreter.empty()) return facts.interpreter;
  switch (facts.machine) {
    case EM_X86_64:
      return "/lib64/ld-linux-x86-64.so.2";
    case EM_AARCH64:
      return "/lib/ld-linux-aarch64.so.1";
    default:
      return "";
  }
}

// Lines are "name => /path (0x...)", "/path (0x...)", "name (0x...)" for the vDSO, and
// "name => not found".
absl::StatusOr<std::vector<std::string>> ParseLoaderList(const std::string& path,
                                                         const std::string& output) {
  std::vector<std::string> libraries;
  for (absl::string_view line : absl::StrSplit(output, '\n', absl::SkipWhitespace())) {
    const size_t arrow = line.find(" => ");
    absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, arrow));
    absl::string_view target = arrow == absl::string_view::npos ? name : line.substr(arrow + 4);
    if (absl::StartsWith(target, "not found")) {
      return absl::NotFoundError(absl::StrCat(path, " needs the shared library ", name,
                                              ", which this host does not have"));
    }
    target = target.substr(0, target.find(" (0x"));
    if (absl::StartsWith(target, "/")) libraries.emplace_back(target);
  }
  return libraries;
}

// glibc's loader gives up at a library that it does not find: "PROGRAM: error while loading shared
// libraries: NAME: cannot open shared object file: No such file or directory".
absl::Status WhyNotListed(const std::string& path, const std::string& loader,
                          const absl::Status& failure) {
  absl::string_view said = failure.message();
  constexpr absl::string_view kMissing = "error while loading shared libraries: ";
  const size_t at = said.find(kMissing);
  if (at != absl::string_view::npos && absl::StrContains(said, "cannot open shared object file")) {
    said.remove_prefix(at + kMissing.size());
    return absl::NotFoundError(absl::StrCat(path, " needs the shared library ",
                                            said.substr(0, said.find(':')),
                                            ", which this host does not have"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "cannot list the shared libraries of ", path, " with ", loader, " --list: ", said));
}

std::vector<std::string> ScriptInterpreter(absl::string_view head) {
  absl::string_view line = head.substr(2, head.find('\n') - 2);
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
  if (words.empty() || !absl::StartsWith(words[0], "/")) return {};
  std::vector<std::string> needed = {words[0]};
  // "#!/usr/bin/env python3": the program is what env finds in the usual places.
  if (absl::EndsWith(words[0], "/env") && words.size() > 1 && words[1][0] != '-') {
    for (const char* dir : {"/usr/local/bin/", "/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/"}) {
      const std::string candidate = absl::StrCat(dir, words[1]);
      if (access(candidate.c_str(), X_OK) == 0) {
        needed.push_back(candidate);
        break;
      }
    }
  }
  return needed;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> DirectDependencies(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  absl::Cleanup close_fd = [fd] { close(fd); };
  char head[256];
  const ssize_t got = pread(fd, head, sizeof(head), 0);
  if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat("read ", path));
  const absl::string_view start(head, static_cast<size_t>(got));
  if (absl::StartsWith(start, "#!")) return ScriptInterpreter(start);
  const std::optional<ElfFacts> facts = ReadElf(fd);
  if (!facts.has_value() || !facts->dynamic) return std::vector<std::string>();
  const std::string loader = LoaderFor(*facts);
  // A static PIE has a dynamic section and no interpreter; its loader list is empty.
  if (loader.empty() || access(loader.c_str(), X_OK) != 0) {
    if (facts->interpreter.empty()) return std::vector<std::string>();
    return absl::NotFoundError(
        absl::StrCat(path, " needs the loader ", loader, ", which this host does not have"));
  }
  auto output = RunProgram({loader, "--list", path});
  if (!output.ok()) {
    if (facts->interpreter.empty()) return std::vector<std::string>();
    return WhyNotListed(path, loader, output.status());
  }
  auto libraries = ParseLoaderList(path, *output);
  if (libraries.ok() && !facts->interpreter.empty()) libraries->push_back(facts->interpreter);
  return libraries;
}

}  // namespace stasis
