#include "tools/nested/emulator.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tools/nested/protocol.h"

namespace stasis::nested {
namespace {

constexpr int kChannelCount = 6;
constexpr size_t kErrorTailBytes = 4096;

absl::Status ErrnoError(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(errno)));
}

// In QEMU's option syntax a comma in a value is doubled.
std::string Quoted(const std::string& value) { return absl::StrReplaceAll(value, {{",", ",,"}}); }

// In the child: never returns.
[[noreturn]] void Execute(char* const* argv, const int (&fds)[kChannelCount],
                          const EmulatorConfig& config, int error_fd, pid_t parent) {
  // A group of its own, so that the terminal's Ctrl-C reaches the program inside and not QEMU.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it died before the line above
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int fd : fds) fcntl(fd, F_SETFD, 0);
  fcntl(config.kernel_fd, F_SETFD, 0);
  fcntl(config.initramfs_fd, F_SETFD, 0);
  const int null = open("/dev/null", O_RDWR);
  dup2(null, 0);
  dup2(null, 1);
  dup2(error_fd, 2);
  execv(argv[0], argv);
  dprintf(2, "execute %s: %s\n", argv[0], strerror(errno));
  _exit(127);
}

std::string StatusText(int status) {
  if (WIFEXITED(status)) return absl::StrCat("exit status ", WEXITSTATUS(status));
  return absl::StrCat("signal ", WTERMSIG(status));
}

}  // namespace

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::string> FindEmulator() {
  const char* path = std::getenv("PATH");
  for (absl::string_view directory :
       absl::StrSplit(path == nullptr ? "/usr/bin" : path, ':', absl::SkipEmpty())) {
    std::string candidate = absl::StrCat(directory, "/qemu-system-x86_64");
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(
      "qemu-system-x86_64 is not in PATH: the nested lane needs Debian's package "
      "qemu-system-x86 (apt-get install qemu-system-x86, or tools/setup)");
}

std::vector<std::string> EmulatorArguments(const EmulatorConfig& config,
                                           const int (&fds)[kChannelCount]) {
  std::vector<std::string> args = {
      config.program, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
      // One CPU: with two, multi-threaded emulation was seen to hang the emulated host.
      "-machine", config.machine, "-accel", "tcg,thread=multi", "-smp", "1",
      // Without XSAVE: KVM in the emulated host does not see the nested guest's XSETBV.
      "-cpu", config.cpu, "-m", absl::StrCat(config.memory_mib), "-kernel",
      absl::StrCat("/proc/self/fd/", config.kernel_fd), "-initrd",
      absl::StrCat("/proc/self/fd/", config.initramfs_fd), "-append", config.append, "-device",
      "virtio-serial-pci,max_ports=8"};
  auto add = [&args](std::initializer_list<std::string> more) { args.insert(args.end(), more); };
  constexpr const char* kPorts[] = {kControlPort, kStdinPort, kStdoutPort, kStderrPort};
  for (int i = 0; i < 4; ++i) {
    add({"-chardev", absl::StrFormat("socket,id=port%d,fd=%d", i, fds[i]), "-device",
         absl::StrFormat("virtserialport,chardev=port%d,name=%s", i, kPorts[i])});
  }
  add({"-chardev", absl::StrFormat("socket,id=console,fd=%d", fds[4]), "-serial",
       "chardev:console"});
  add({"-chardev", absl::StrFormat("socket,id=monitor,fd=%d", fds[5]), "-mon",
       "chardev=monitor,mode=control"});
  auto share = [&add](const std::string& tag, const std::string& path, const char* more) {
    // remap: file systems below the directory may reuse inode numbers.
    add({"-fsdev",
         absl::StrFormat("local,id=%s,path=%s,security_model=none,multidevs=remap%s", tag,
                         Quoted(path), more),
         "-device", absl::StrFormat("virtio-9p-pci,fsdev=%s,mount_tag=%s", tag, tag)});
  };
  share(kRootTag, "/", ",readonly=on");
  for (size_t i = 0; i < config.writable.size(); ++i) {
    share(absl::StrCat(kWritableTagPrefix, i), config.writable[i], "");
  }
  return args;
}

absl::StatusOr<std::unique_ptr<Emulator>> Emulator::Start(const EmulatorConfig& config) {
  Channels channels;
  OwnedFd* const ours[kChannelCount] = {&channels.control, &channels.in,      &channels.out,
                                        &channels.err,     &channels.console, &channels.monitor};
  OwnedFd theirs[kChannelCount];
  int their_fds[kChannelCount];
  for (int i = 0; i < kChannelCount; ++i) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
      return ErrnoError("socketpair");
    }
    *ours[i] = OwnedFd(pair[0]);
    theirs[i] = OwnedFd(pair[1]);
    their_fds[i] = pair[1];
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
  }
  OwnedFd error_file(memfd_create("stasis-nested-emulator-errors", MFD_CLOEXEC));
  if (error_file.get() < 0) return ErrnoError("memfd_create");
  const std::vector<std::string> args = EmulatorArguments(config, their_fds);
  std::vector<char*> argv;  // made before the fork: other threads may hold the allocator's lock
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return ErrnoError("fork");
  if (pid == 0) Execute(argv.data(), their_fds, config, error_file.get(), parent);
  OwnedFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.get() < 0) {
    const absl::Status status = ErrnoError("pidfd_open");
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return status;
  }
  return std::unique_ptr<Emulator>(
      new Emulator(pid, std::move(channels), std::move(pidfd), std::move(error_file)));
}

Emulator::Emulator(pid_t pid, Channels channels, OwnedFd pidfd, OwnedFd error_file)
    : pid_(pid),
      channels_(std::move(channels)),
      pidfd_(std::move(pidfd)),
      error_file_(std::move(error_file)) {}

Emulator::~Emulator() { Kill(); }

std::string Emulator::ErrorOutput() const {
  const off_t size = lseek(error_file_.get(), 0, SEEK_END);
  std::string tail(kErrorTailBytes, '\0');
  const off_t from = size > static_cast<off_t>(tail.size()) ? size - tail.size() : 0;
  const ssize_t n = pread(error_file_.get(), tail.data(), tail.size(), from);
  tail.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return tail;
}

std::string Emulator::Kill() {
  if (pid_ < 0) return "ended before";
  kill(pid_, SIGKILL);  // no effect on one that has ended by itself
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return StatusText(status);
}

std::string Emulator::Command(const std::string& request, absl::Duration limit) {
  const std::string line = request + "\n";
  if (send(channels_.monitor.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) {
    return absl::StrCat("(monitor: ", strerror(errno), ")\n");
  }
  const absl::Time deadline = absl::Now() + limit;
  std::string pending;
  for (;;) {
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    pollfd ready = {channels_.monitor.get(), POLLIN, 0};
    if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) <= 0) {
      return "(the monitor does not answer)\n";
    }
    char bytes[16384];
    const ssize_t n = recv(channels_.monitor.get(), bytes, sizeof bytes, 0);
    if (n <= 0) return "(the monitor is closed)\n";
    pending.append(bytes, static_cast<size_t>(n));
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      const auto json = nlohmann::json::parse(pending.substr(0, end), nullptr, false);
      if (!json.is_object()) continue;
      const auto answer = json.find("return");
      if (answer != json.end()) {
        return answer->is_string() ? answer->get<std::string>() : answer->dump();
      }
      if (json.contains("error")) return json["error"].dump() + "\n";
    }
  }
}

std::string Emulator::SampleRegisters(int samples) {
  constexpr absl::Duration kLimit = absl::Seconds(2);
  std::string text = Command(R"({"execute":"qmp_capabilities"})", kLimit) + "\n";
  for (int i = 0; i < samples; ++i) {
    for (const char* command : {"info registers", "info lapic", "info pic"}) {
      const nlohmann::json request = {{"execute", "human-monitor-command"},
                                      {"arguments", {{"command-line", command}}}};
      absl::StrAppend(&text, "== sample ", i + 1, ": ", command, "\n",
                      Command(request.dump(), kLimit));
    }
    poll(nullptr, 0, 100);  // apart, so that a loop shows
  }
  return text;
}

}  // namespace stasis::nested
