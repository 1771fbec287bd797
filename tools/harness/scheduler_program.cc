#include "tools/harness/scheduler_program.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "guest/scenario/near_match.h"
#include "tools/harness/files.h"
#include "tools/harness/initramfs/dependencies.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
constexpr char kMachineName[] = "x86_64";
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
constexpr char kMachineName[] = "aarch64";
#endif

Finding Usage(const std::string& path, const std::string& what, const std::string& to_do) {
  return {Verdict::kUsage, Layer::kNone, absl::StrCat("scheduler ", path, ": ", what), to_do};
}

std::string NameOfMachine(uint16_t machine) {
  switch (machine) {
    case EM_386:
      return "32-bit x86";
    case EM_X86_64:
      return "x86_64";
    case EM_ARM:
      return "32-bit ARM";
    case EM_AARCH64:
      return "aarch64";
    case EM_RISCV:
      return "RISC-V";
    case EM_PPC64:
      return "POWER";
    case EM_S390:
      return "s390";
    default:
      return absl::StrCat("ELF machine ", machine);
  }
}

// The part of the ELF header that classes and byte orders have in common.
struct ElfHead {
  unsigned char ident[EI_NIDENT];
  unsigned char type[2];
  unsigned char machine[2];
};

uint16_t Number(const ElfHead& head, const unsigned char bytes[2]) {
  const bool big = head.ident[EI_DATA] == ELFDATA2MSB;
  return static_cast<uint16_t>(bytes[big ? 1 : 0] | bytes[big ? 0 : 1] << 8);
}

std::optional<Finding> CheckFormat(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  ElfHead head = {};
  file.read(reinterpret_cast<char*>(&head), sizeof(head));
  const size_t got = static_cast<size_t>(file.gcount());
  if (got >= 2 && memcmp(head.ident, "#!", 2) == 0) return std::nullopt;
  if (got < sizeof(head) || memcmp(head.ident, ELFMAG, SELFMAG) != 0) {
    return Usage(path, "neither a program nor a script", "give the scheduler's loader");
  }
  const uint16_t machine = Number(head, head.machine);
  if (machine == EM_BPF) {
    return Usage(path, "a BPF object, which cannot run by itself",
                 "give the program that loads it");
  }
  if (machine != kMachine || head.ident[EI_CLASS] != ELFCLASS64) {
    return Usage(
        path, absl::StrCat("built for ", NameOfMachine(machine), ", the guest is ", kMachineName),
        absl::StrCat("build it for ", kMachineName));
  }
  const uint16_t type = Number(head, head.type);
  if (type != ET_EXEC && type != ET_DYN) {
    return Usage(path, "an object file, not a program", "link it first");
  }
  return std::nullopt;
}

// What is built for that kernel, as a hint.
std::string Built(const std::string& folder, const std::string& name) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (access(entry.path().c_str(), X_OK) == 0) names.push_back(entry.path().filename());
  }
  return NearMatchHint(name, names);
}

}  // namespace

std::optional<Finding> CheckSchedulerProgram(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return Usage(path, strerror(errno),
                 "give the path of a program, or 'name' one that tools/schedulers/build makes");
  }
  if (!S_ISREG(info.st_mode)) {
    return Usage(path, S_ISDIR(info.st_mode) ? "a directory" : "not a regular file",
                 "give the path of a program");
  }
  // Not access(): to root, everything is executable that anybody may execute, and nothing else.
  if ((info.st_mode & 0111) == 0 || access(path.c_str(), X_OK) != 0) {
    return Usage(path, "not executable", absl::StrCat("chmod +x ", path));
  }
  for (const char* hidden : {"/proc/", "/sys/", "/dev/"}) {
    if (absl::StartsWith(AbsolutePath(path), hidden)) {
      return Usage(path, absl::StrCat("the guest has its own ", hidden), "copy it elsewhere");
    }
  }
  if (std::optional<Finding> finding = CheckFormat(path)) return finding;
  const auto libraries = DirectDependencies(AbsolutePath(path));
  if (libraries.ok()) return std::nullopt;
  Finding finding = FindingFromStatus(Layer::kSchedulerLoad, libraries.status());
  finding.verdict = Verdict::kError;
  finding.to_do = "install what it needs on this host, or link it statically";
  return finding;
}

SchedulerProgram FindSchedulerProgram(const SchedulerSpec& spec, const std::string& cache,
                                      const std::string& release) {
  std::string path = AbsolutePath(spec.path);
  if (!spec.name.empty()) {
    const std::string folder = absl::StrCat(cache, "/schedulers/", release);
    path = absl::StrCat(folder, "/", spec.name);
    if (access(path.c_str(), F_OK) != 0) {
      return {"", Finding{Verdict::kError, Layer::kSchedulerLoad,
                          absl::StrCat("no scheduler '", spec.name, "' for kernel ", release,
                                       " in ", folder, Built(folder, spec.name)),
                          absl::StrCat("build it with 'tools/schedulers/build --kernel ", release,
                                       "', or give the path of one")}};
    }
  }
  return {path, CheckSchedulerProgram(path)};
}

}  // namespace stasis
