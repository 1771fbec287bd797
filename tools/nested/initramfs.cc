#include "tools/nested/initramfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

// From the embedded object (see BUILD.bazel).
extern "C" const char stasis_nested_init_begin[];
extern "C" const char stasis_nested_init_end[];

namespace stasis::nested {
namespace {

struct FreeArchive {
  void operator()(archive* a) const { archive_free(a); }
};
using Archive = std::unique_ptr<archive, FreeArchive>;

absl::Status Failure(const std::string& what, archive* a) {
  const char* text = archive_error_string(a);
  return absl::UnavailableError(absl::StrCat(what, ": ", text == nullptr ? "unknown" : text));
}

// Reads a file, unpacked when it is compressed by anything that libarchive knows.
absl::StatusOr<std::string> ReadUnpacked(const std::string& path) {
  Archive reader(archive_read_new());
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_raw(reader.get());
  archive_entry* entry = nullptr;
  constexpr size_t kBlock = 1 << 20;
  if (archive_read_open_filename(reader.get(), path.c_str(), kBlock) != ARCHIVE_OK ||
      archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) {
    return Failure(absl::StrCat("read ", path), reader.get());
  }
  std::string bytes;
  std::vector<char> block(kBlock);
  for (;;) {
    const la_ssize_t n = archive_read_data(reader.get(), block.data(), block.size());
    if (n == 0) return bytes;
    if (n < 0) return Failure(absl::StrCat("unpack ", path), reader.get());
    bytes.append(block.data(), static_cast<size_t>(n));
  }
}

absl::Status AddEntry(archive* writer, const std::string& name, mode_t mode,
                      std::string_view bytes) {
  std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(),
                                                                 archive_entry_free);
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_mode(entry.get(), mode);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(bytes.size()));
  if (S_ISCHR(mode)) archive_entry_set_rdev(entry.get(), makedev(5, 1));  // /dev/console
  if (archive_write_header(writer, entry.get()) != ARCHIVE_OK ||
      archive_write_data(writer, bytes.data(), bytes.size()) !=
          static_cast<la_ssize_t>(bytes.size())) {
    return Failure("write the initramfs", writer);
  }
  return absl::OkStatus();
}

absl::Status AddModule(archive* writer, const std::string& path, const std::string& kvm_amd_options,
                       Order& order) {
  auto bytes = ReadUnpacked(path);
  if (!bytes.ok()) return bytes.status();
  std::string name = path.substr(path.rfind('/') + 1);
  name = name.substr(0, name.find(".ko")) + ".ko";
  const bool is_kvm_amd = name == "kvm-amd.ko";
  order.modules.push_back(
      is_kvm_amd && !kvm_amd_options.empty() ? absl::StrCat(name, " ", kvm_amd_options) : name);
  return AddEntry(writer, absl::StrCat(kModuleDirectory + 1, "/", name), S_IFREG | 0644, *bytes);
}

absl::Status WriteArchive(int fd, Order& order, const std::vector<std::string>& modules,
                          const std::string& kvm_amd_options) {
  Archive writer(archive_write_new());
  archive_write_set_format_cpio_newc(writer.get());
  archive_write_set_bytes_in_last_block(writer.get(), 1);
  if (archive_write_open_fd(writer.get(), fd) != ARCHIVE_OK) {
    return Failure("write the initramfs", writer.get());
  }
  for (const char* directory : {"dev", "modules"}) {
    if (auto status = AddEntry(writer.get(), directory, S_IFDIR | 0755, ""); !status.ok()) {
      return status;
    }
  }
  // Init's messages before the control port is there need a console to go to.
  auto console = AddEntry(writer.get(), "dev/console", S_IFCHR | 0600, "");
  if (!console.ok()) return console;
  for (const std::string& module : modules) {
    if (auto status = AddModule(writer.get(), module, kvm_amd_options, order); !status.ok()) {
      return status;
    }
  }
  auto status = AddEntry(writer.get(), kOrderPath + 1, S_IFREG | 0600, EncodeOrder(order));
  if (status.ok()) status = AddEntry(writer.get(), "init", S_IFREG | 0755, EmbeddedInit());
  if (status.ok() && archive_write_close(writer.get()) != ARCHIVE_OK) {
    status = Failure("write the initramfs", writer.get());
  }
  return status;
}

}  // namespace

std::string_view EmbeddedInit() {
  return {stasis_nested_init_begin,
          static_cast<size_t>(stasis_nested_init_end - stasis_nested_init_begin)};
}

absl::StatusOr<int> BuildInitramfs(Order order, const std::vector<std::string>& modules,
                                   const std::string& kvm_amd_options) {
  const int fd = memfd_create("stasis-nested-initramfs", MFD_CLOEXEC);
  if (fd < 0) return absl::UnavailableError(absl::StrCat("memfd_create: ", strerror(errno)));
  if (auto status = WriteArchive(fd, order, modules, kvm_amd_options); !status.ok()) {
    close(fd);
    return status;
  }
  return fd;
}

}  // namespace stasis::nested
