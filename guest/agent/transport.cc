#include "guest/agent/transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"

namespace stasis::agent {
namespace {

constexpr size_t kMaxEarlyMessages = 256;

}  // namespace

absl::StatusOr<std::string> FindVirtioPort(const std::string& root, const std::string& name) {
  const std::string ports = root + "/sys/class/virtio-ports";
  DIR* dir = opendir(ports.c_str());
  if (dir == nullptr) return absl::NotFoundError(absl::StrCat(ports, ": not there"));
  std::string found;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] == '.') continue;
    auto text = ReadText(absl::StrCat(ports, "/", entry->d_name, "/name"));
    if (text.ok() && *text == name) found = absl::StrCat(root, "/dev/", entry->d_name);
  }
  closedir(dir);
  if (found.empty()) return absl::NotFoundError(absl::StrCat("no virtio port called ", name));
  return found;
}

Transport::~Transport() {
  if (fd_ >= 0) close(fd_);
}

absl::Status Transport::Open(const std::string& path, const wire::Hello& hello) {
  const int fd = open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  termios settings;
  if (hello.transport == "serial") {
    if (tcgetattr(fd, &settings) != 0) {
      const int error = errno;  // the node of a port without hardware opens, and then fails here
      close(fd);
      return absl::ErrnoToStatus(error, absl::StrCat("terminal settings of ", path));
    }
    cfmakeraw(&settings);
    tcsetattr(fd, TCSANOW, &settings);
  }
  const std::lock_guard<PiMutex> lock(mutex_);
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
  decoder_ = wire::Decoder();
  WriteAll(wire::EncodeLine(wire::AgentMessage(hello)));
  for (const std::string& line : early_) WriteAll(line);
  early_.clear();
  return absl::OkStatus();
}

void Transport::Send(const wire::AgentMessage& message) {
  const std::string line = wire::EncodeLine(message);
  const std::lock_guard<PiMutex> lock(mutex_);
  if (fd_ >= 0) {
    WriteAll(line);
  } else if (early_.size() < kMaxEarlyMessages) {
    early_.push_back(line);
  }
}

void Transport::WriteAll(const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = write(fd_, bytes.data() + done, bytes.size() - done);
    if (put > 0) done += static_cast<size_t>(put);
    if (put < 0 && errno == EAGAIN) {
      pollfd writable = {.fd = fd_, .events = POLLOUT};
      poll(&writable, 1, -1);
    } else if (put < 0 && errno != EINTR) {
      return;  // the device is gone: the host ends this machine
    }
  }
}

std::vector<wire::HostMessage> Transport::Receive(bool* closed) {
  char buffer[16384];
  const ssize_t got = read(fd_, buffer, sizeof(buffer));
  *closed = got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN);
  std::vector<wire::HostMessage> messages;
  if (got <= 0) return messages;
  std::vector<std::string> payloads;
  std::string noise;  // echo or line noise of a serial line
  decoder_.Feed(absl::string_view(buffer, static_cast<size_t>(got)), &payloads, &noise);
  for (const std::string& payload : payloads) {
    auto message = wire::ParseHostMessage(payload);
    if (message.ok()) {
      messages.push_back(*std::move(message));
    } else {
      Send(wire::Error{.layer = "agent", .text = std::string(message.status().message())});
    }
  }
  return messages;
}

void Transport::Drain() {
  if (fd_ >= 0) tcdrain(fd_);
}

}  // namespace stasis::agent
