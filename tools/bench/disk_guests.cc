#include "tools/bench/disk_guests.h"

#include <errno.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/substitute.h"
#include "guest/wire/frame.h"
#include "guest/wire/messages.h"
#include "tools/bench/child.h"

namespace stasis::bench {
namespace {

constexpr char kMemory[] = "memory";
constexpr char kDisk[] = "disk";
constexpr uint32_t kExecId = 1;
// Fields of fio's terse format, version 3 (fio(1), "Terse output"), counted from 0.
constexpr size_t kJobField = 2;
constexpr size_t kReadIopsField = 7;
constexpr size_t kWriteIopsField = 48;

// All jobs on both disks, with loading fio, and the boot.
absl::Duration Limit(const DiskGuestSpec& spec) {
  return spec.boot.limit + 2 * std::size(kDiskJobs) * absl::Seconds(spec.seconds + 10);
}

absl::Status Send(int port, const wire::HostMessage& message) {
  const std::string line = wire::EncodeLine(message);
  if (send(port, line.data(), line.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(line.size())) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, "write to the guest's agent");
}

// Speaks with the agent of a guest at the other end of a port.
class Agent {
 public:
  Agent(Child* child, int port) : child_(child), port_(port) {}

  // The agent's next message. Errors: those of Child::Read and ParseAgentMessage.
  absl::StatusOr<wire::AgentMessage> Next(absl::Time deadline) {
    while (waiting_.empty()) {
      absl::StatusOr<std::string> bytes = child_->Read(port_, deadline);
      if (!bytes.ok()) return bytes.status();
      std::string console;
      decoder_.Feed(*bytes, &waiting_, &console);
    }
    const std::string payload = waiting_.front();
    waiting_.erase(waiting_.begin());
    return wire::ParseAgentMessage(payload);
  }

  // Runs `script` once the agent is ready; what it wrote to stdout. Error: Internal if it failed.
  absl::StatusOr<std::string> Run(const std::string& script, absl::Time deadline) {
    std::string output, errors;
    for (;;) {
      absl::StatusOr<wire::AgentMessage> message = Next(deadline);
      if (!message.ok()) return message.status();
      // The last that the agent says by itself: it is ready.
      if (std::holds_alternative<wire::Topology>(*message)) {
        wire::Exec exec;
        exec.id = kExecId;
        exec.shell = script;
        if (absl::Status sent = Send(port_, exec); !sent.ok()) return sent;
      } else if (const auto* text = std::get_if<wire::ExecOutput>(&*message)) {
        (text->stream == 1 ? output : errors) += text->data.data;
      } else if (const auto* exit = std::get_if<wire::ExecExit>(&*message)) {
        if (exit->code == 0 && exit->signal == 0 && exit->error.empty()) return output;
        return absl::InternalError(
            absl::StrCat("the script in QEMU's guest failed: ", exit->error, output, errors));
      }
    }
  }

 private:
  Child* const child_;
  const int port_;
  wire::Decoder decoder_;
  std::vector<std::string> waiting_;
};

// All that comes until `deadline` or the end of the stream.
absl::Status Drain(Child* child, int fd, absl::Time deadline, std::string* output) {
  for (;;) {
    absl::StatusOr<std::string> bytes = child->Read(fd, deadline);
    if (absl::IsAborted(bytes.status())) return absl::OkStatus();  // its end
    if (!bytes.ok()) return bytes.status();
    *output += *bytes;
  }
}

void AddQemuDisk(const char* name, const std::string& path, const std::string& aio,
                 std::vector<std::string>* arguments) {
  const std::vector<std::string> words = {
      "-object", absl::Substitute("iothread,id=io-$0", name),
      "-drive",
      absl::Substitute("id=$0,file=$1,format=raw,if=none,cache=writeback,aio=$2", name, path, aio),
      "-device", absl::Substitute("virtio-blk-device,drive=$0,iothread=io-$0", name)};
  arguments->insert(arguments->end(), words.begin(), words.end());
}

}  // namespace

std::string FioScript(int seconds) {
  std::string jobs;
  for (const DiskJob& job : kDiskJobs) {
    absl::StrAppend(&jobs, "[", job.name, "]\nstonewall\nrw=", job.rw, "\nbs=", job.block_size,
                    "\niodepth=", job.depth, "\n");
  }
  return absl::Substitute(R"(
for path in /sys/block/vd*; do
  sectors=$$(cat $$path/size)
  [ $$sectors = $0 ] && image=memory
  [ $$sectors = $1 ] && image=disk
  cat > /tmp/jobs <<END
[global]
filename=/dev/$${path##*/}
thread
direct=1
ioengine=libaio
size=$2
time_based
ramp_time=500ms
runtime=$3
$4END
  fio --minimal /tmp/jobs > /tmp/out 2>&1 || { cat /tmp/out; exit 1; }
  sed -n "s/^3;/$$image;3;/p" /tmp/out
done
)",
                          kDiskBytes / 512, (kDiskBytes + kSecondDiskMore) / 512, kDiskBytes,
                          seconds, jobs);
}

absl::StatusOr<DiskFigures> ParseFioOutput(absl::string_view output) {
  DiskFigures figures;
  for (absl::string_view line : absl::StrSplit(output, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ';');
    // Behind the name of the image.
    if (words.size() < 2 + kWriteIopsField) continue;
    double reads = 0, writes = 0;
    if (!absl::SimpleAtod(words[1 + kReadIopsField], &reads) ||
        !absl::SimpleAtod(words[1 + kWriteIopsField], &writes)) {
      continue;
    }
    figures[{words[0], words[1 + kJobField]}] = std::max(reads, writes);
  }
  for (const char* image : {kMemory, kDisk}) {
    for (const DiskJob& job : kDiskJobs) {
      if (figures[{image, job.name}] > 0) continue;
      return absl::InternalError(absl::StrCat("fio gave no figure of ", job.name, " on the image in ",
                                              image, "; it said: ", output));
    }
  }
  return figures;
}

absl::StatusOr<DiskFigures> FioInStasis(const DiskGuestSpec& spec) {
  absl::StatusOr<std::pair<OwnedFd, OwnedFd>> output = StreamPair();
  if (!output.ok()) return output.status();
  const BootSpec& boot = spec.boot;
  Child::Options options{
      .argv = {boot.stasis, "shell", "--kernel", boot.kernel, "--topology",
               absl::StrCat("1n1l", boot.cpus, "c1t"), "--memory",
               absl::StrCat(boot.memory_bytes >> 20, "M"), "--accel", "kvm", "--dump", "never",
               "--include", "/usr/bin/fio", "--disk", spec.images.memory, "--disk",
               spec.images.disk, "--exec", FioScript(spec.seconds)},
      .output = output->second.get()};
  absl::StatusOr<std::unique_ptr<Child>> child = Child::Start(options);
  if (!child.ok()) return child.status();
  output->second.Reset();
  const absl::Time deadline = (*child)->started() + Limit(spec);
  std::string text;
  absl::Status drained = Drain(child->get(), output->first.get(), deadline, &text);
  if (!drained.ok()) return drained;
  absl::Status ended = (*child)->Join(deadline);
  if (!ended.ok()) return ended;
  return ParseFioOutput(text);
}

absl::StatusOr<DiskFigures> FioInQemu(const DiskGuestSpec& spec, const std::string& aio) {
  absl::StatusOr<std::pair<OwnedFd, OwnedFd>> port = StreamPair();
  if (!port.ok()) return port.status();
  std::vector<std::string> arguments = QemuArguments(spec.boot, spec.boot.kernel);
  // As stasis' disks are: virtio 1, not the legacy interface.
  arguments.insert(arguments.end(), {"-global", "virtio-mmio.force-legacy=false"});
  AddQemuDisk(kMemory, spec.images.memory, aio, &arguments);
  AddQemuDisk(kDisk, spec.images.disk, aio, &arguments);
  absl::StatusOr<std::unique_ptr<Child>> child =
      Child::Start({.argv = arguments, .extra = port->second.get()});
  if (!child.ok()) return child.status();
  port->second.Reset();
  const absl::Time deadline = (*child)->started() + Limit(spec);
  Agent agent(child->get(), port->first.get());
  absl::StatusOr<std::string> text = agent.Run(FioScript(spec.seconds), deadline);
  if (!text.ok()) return text.status();
  absl::Status sent = Send(port->first.get(), wire::Shutdown{wire::ShutdownHow::kEnd});
  if (!sent.ok()) return sent;
  // What the agent still says is read, so that it never waits for room.
  std::string ignored;
  absl::Status drained = Drain(child->get(), port->first.get(), deadline, &ignored);
  if (!drained.ok()) return drained;
  absl::Status ended = (*child)->Join(deadline);
  if (!ended.ok()) return ended;
  return ParseFioOutput(*text);
}

}  // namespace stasis::bench
