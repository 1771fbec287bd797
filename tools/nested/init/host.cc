#include "tools/nested/init/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace stasis::nested {
namespace {

constexpr char kNewRoot[] = "/new";
constexpr char kLayers[] = "/layers";  // tmpfs with the throw-away layers
// msize: what virtio 9p carries at most. The tree outside does not change while we run, so its
// names and pages may be cached without asking again.
constexpr char kRootOptions[] = "trans=virtio,version=9p2000.L,msize=512000,cache=loose";
// Written through, but shared writable mappings (databases, io_uring buffers) work.
constexpr char kWritableOptions[] = "trans=virtio,version=9p2000.L,msize=512000,cache=mmap";

bool Failure(const std::string& what, std::string* error) {
  *error = what + ": " + strerror(errno);
  return false;
}

bool Mount(const char* type, const char* source, const std::string& target, unsigned long flags,
           const std::string& options, std::string* error) {
  if (mount(source, target.c_str(), type, flags, options.c_str()) == 0) return true;
  return Failure("mount " + std::string(type) + " on " + target, error);
}

void MakeDirectories(const std::string& path) {
  for (size_t at = 1; at != std::string::npos; ++at) {
    at = path.find('/', at);
    mkdir(path.substr(0, at).c_str(), 0777);
    if (at == std::string::npos) break;
  }
}

std::string ReadLine(const std::string& path) {
  char bytes[128];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
  if (fd >= 0) close(fd);
  std::string text(bytes, n > 0 ? static_cast<size_t>(n) : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void PickPort(const std::string& device, Ports* ports) {
  const std::string name = ReadLine("/sys/class/virtio-ports/" + device + "/name");
  int* port = nullptr;
  if (name == kControlPort) port = &ports->control;
  if (name == kStdinPort) port = &ports->in;
  if (name == kStdoutPort) port = &ports->out;
  if (name == kStderrPort) port = &ports->err;
  if (port == nullptr || *port >= 0) return;
  *port = open(("/dev/" + device).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

// A directory outside stays readable; what is written to it is forgotten with the machine.
bool AddThrowAwayLayer(const char* path, const char* name, std::string* error) {
  const std::string target = std::string(kNewRoot) + path;
  struct stat status;
  // A link (/var/run -> /run) is covered by what it points to.
  if (lstat(target.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return true;
  const std::string upper = std::string(kLayers) + "/" + name;
  const std::string work = upper + ".work";
  mkdir(upper.c_str(), 0777);
  mkdir(work.c_str(), 0777);
  chmod(upper.c_str(), status.st_mode & 07777);
  return Mount("overlay", "overlay", target, 0,
               "lowerdir=" + target + ",upperdir=" + upper + ",workdir=" + work, error);
}

bool MountDevices(std::string* error) {
  const std::string root = kNewRoot;
  if (!Mount("proc", "proc", root + "/proc", 0, "", error) ||
      !Mount("sysfs", "sysfs", root + "/sys", 0, "", error) ||
      !Mount("devtmpfs", "dev", root + "/dev", 0, "", error)) {
    return false;
  }
  mkdir((root + "/dev/pts").c_str(), 0755);
  mkdir((root + "/dev/shm").c_str(), 01777);
  constexpr const char* kLinks[][2] = {{"/proc/self/fd", "/dev/fd"},
                                       {"/proc/self/fd/0", "/dev/stdin"},
                                       {"/proc/self/fd/1", "/dev/stdout"},
                                       {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& [to, name] : kLinks) {
    if (symlink(to, (root + name).c_str()) != 0 && errno != EEXIST) return Failure(name, error);
  }
  return Mount("devpts", "devpts", root + "/dev/pts", 0, "ptmxmode=0666", error) &&
         Mount("tmpfs", "shm", root + "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", error);
}

}  // namespace

bool MountEarly(std::string* error) {
  for (const char* path : {"/proc", "/sys", "/dev", kNewRoot, kLayers}) mkdir(path, 0755);
  if (!Mount("proc", "proc", "/proc", 0, "", error)) return false;
  if (!Mount("sysfs", "sysfs", "/sys", 0, "", error)) return false;
  return Mount("devtmpfs", "dev", "/dev", 0, "", error);
}

bool LoadModules(const Order& order, std::string* error) {
  for (const std::string& line : order.modules) {
    const size_t space = line.find(' ');
    const std::string file = std::string(kModuleDirectory) + "/" + line.substr(0, space);
    const std::string options = space == std::string::npos ? "" : line.substr(space + 1);
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Failure("open " + file, error);
    const long result = syscall(SYS_finit_module, fd, options.c_str(), 0);
    close(fd);
    if (result != 0 && errno != EEXIST) return Failure("load module " + line, error);
  }
  return true;
}

bool OpenPorts(Ports* ports, std::string* error) {
  constexpr int kTries = 500;
  for (int i = 0; i < kTries; ++i) {
    if (DIR* directory = opendir("/sys/class/virtio-ports")) {
      while (const dirent* entry = readdir(directory)) {
        if (entry->d_name[0] != '.') PickPort(entry->d_name, ports);
      }
      closedir(directory);
    }
    if (ports->control >= 0 && ports->in >= 0 && ports->out >= 0 && ports->err >= 0) return true;
    const timespec pause = {0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
  *error = "the virtio-serial ports did not appear";
  return false;
}

bool EnterSharedTree(const Order& order, std::string* error) {
  const std::string root = kNewRoot;
  if (!Mount("tmpfs", "layers", kLayers, 0, "mode=755", error) ||
      !Mount("9p", kRootTag, root, MS_RDONLY, kRootOptions, error) || !MountDevices(error) ||
      !AddThrowAwayLayer("/tmp", "tmp", error) || !AddThrowAwayLayer("/run", "run", error) ||
      !AddThrowAwayLayer("/var/tmp", "var-tmp", error)) {
    return false;
  }
  for (size_t i = 0; i < order.writable.size(); ++i) {
    const std::string target = root + order.writable[i];
    MakeDirectories(target);  // where it lies on a throw-away layer; elsewhere it exists
    const std::string tag = kWritableTagPrefix + std::to_string(i);
    if (!Mount("9p", tag.c_str(), target, 0, kWritableOptions, error)) return false;
  }
  // The initramfs cannot be pivoted away from; moving over it is the way.
  if (chdir(kNewRoot) != 0) return Failure("enter the shared tree", error);
  if (mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) return Failure("move the root", error);
  if (chroot(".") != 0 || chdir("/") != 0) return Failure("chroot", error);
  return true;
}

bool ReleaseSharedTree(const Order& order, std::string* error) {
  sync();
  bool ok = true;
  for (size_t i = order.writable.size(); i-- > 0;) {
    const std::string& path = order.writable[i];
    if (umount2(path.c_str(), 0) != 0 && errno != EINVAL) {
      ok = Failure("write back " + path, error);
    }
  }
  return ok;
}

}  // namespace stasis::nested
