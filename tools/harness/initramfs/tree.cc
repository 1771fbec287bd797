#include "tools/harness/initramfs/tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <sys/sysmacros.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace stasis {
namespace {

// libarchive's callbacks report through a number, so that the sink's own status is kept here.
struct SinkState {
  const FileTree::Sink& sink;
  absl::Status status;
};

la_ssize_t WriteToSink(archive* writer, void* state_pointer, const void* bytes, size_t length) {
  auto* state = static_cast<SinkState*>(state_pointer);
  state->status = state->sink(absl::string_view(static_cast<const char*>(bytes), length));
  if (state->status.ok()) return static_cast<la_ssize_t>(length);
  archive_set_error(writer, EIO, "sink failed");
  return -1;
}

}  // namespace

void FileTree::AddParents(const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    entries_.try_emplace(path.substr(0, slash), Entry{.mode = S_IFDIR | 0755});
  }
}

void FileTree::AddDirectory(const std::string& path, mode_t permissions) {
  AddParents(path);
  entries_[path] = Entry{.mode = S_IFDIR | permissions};
}

void FileTree::AddFile(const std::string& path, mode_t permissions, Reader contents) {
  AddParents(path);
  entries_[path] = Entry{.mode = S_IFREG | permissions, .contents = std::move(contents)};
}

void FileTree::AddText(const std::string& path, mode_t permissions, std::string contents) {
  AddFile(path, permissions, [contents = std::move(contents)] { return contents; });
}

void FileTree::AddLink(const std::string& path, const std::string& target) {
  AddParents(path);
  entries_[path] = Entry{.mode = S_IFLNK | 0777, .target = target};
}

void FileTree::AddCharDevice(const std::string& path, mode_t permissions, uint32_t major,
                             uint32_t minor) {
  AddParents(path);
  entries_[path] = Entry{.mode = S_IFCHR | permissions, .major = major, .minor = minor};
}

absl::Status FileTree::WriteCpio(const Sink& sink) const {
  std::unique_ptr<archive, decltype(&archive_write_free)> writer(archive_write_new(),
                                                                 archive_write_free);
  SinkState state{sink, absl::OkStatus()};
  auto failed = [&](absl::string_view what) {
    if (!state.status.ok()) return state.status;
    const char* detail = archive_error_string(writer.get());
    return absl::InternalError(absl::StrCat("cpio archive: ", what, ": ", detail ? detail : "?"));
  };
  archive_write_set_format_cpio_newc(writer.get());
  archive_write_set_bytes_in_last_block(writer.get(), 1);
  if (archive_write_open(writer.get(), &state, nullptr, WriteToSink, nullptr) != ARCHIVE_OK) {
    return failed("open");
  }
  std::unique_ptr<archive_entry, decltype(&archive_entry_free)> header(archive_entry_new(),
                                                                       archive_entry_free);
  int64_t inode = 0;
  for (const auto& [path, entry] : entries_) {
    std::string contents;
    if (entry.contents) {
      auto read = entry.contents();
      if (!read.ok()) return read.status();
      contents = *std::move(read);
    }
    archive_entry_clear(header.get());
    archive_entry_set_pathname(header.get(), path.c_str() + 1);  // relative to the root
    archive_entry_set_mode(header.get(), entry.mode);
    archive_entry_set_ino64(header.get(), ++inode);
    archive_entry_set_nlink(header.get(), 1);
    archive_entry_set_mtime(header.get(), 0, 0);
    archive_entry_set_size(header.get(), static_cast<int64_t>(contents.size()));
    if (S_ISLNK(entry.mode)) archive_entry_set_symlink(header.get(), entry.target.c_str());
    if (S_ISCHR(entry.mode)) {
      archive_entry_set_rdev(header.get(), makedev(entry.major, entry.minor));
    }
    if (archive_write_header(writer.get(), header.get()) != ARCHIVE_OK) return failed(path);
    if (!contents.empty() && archive_write_data(writer.get(), contents.data(), contents.size()) !=
                                 static_cast<la_ssize_t>(contents.size())) {
      return failed(path);
    }
  }
  if (archive_write_close(writer.get()) != ARCHIVE_OK) return failed("close");
  return state.status;
}

}  // namespace stasis
