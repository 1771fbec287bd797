// DumpFile: a failure dump opened for reading (docs/dump-format.md).
#ifndef STASIS_TOOLS_INSPECT_DUMP_FILE_H_
#define STASIS_TOOLS_INSPECT_DUMP_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "tools/inspect/memory_image.h"
#include "vmm/boot/mapping.h"

namespace stasis {

struct DumpNote {
  std::string name;  // "CORE"
  uint32_t type = 0;
  absl::string_view content;  // as long as the DumpFile
};

// A part of guest RAM, by guest-physical address.
struct DumpSegment {
  uint64_t physical = 0;
  uint64_t size = 0;
  uint64_t file_offset = 0;
};

// Constant after Open, so any thread. Everything that the file says is checked before it is used.
class DumpFile : public MemoryImage {
 public:
  // Errors, with the path: errno of open and mmap; InvalidArgument for what is no ELF core file or
  // is cut short. A core file of another program opens, and has no facts().
  static absl::StatusOr<std::unique_ptr<DumpFile>> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<DumpNote>& notes() const { return notes_; }
  const std::vector<DumpSegment>& segments() const { return segments_; }
  uint64_t file_bytes() const { return mapping_.bytes().size(); }
  // The JSON of the STASIS note; null without one that this program knows.
  const nlohmann::json& facts() const { return facts_; }
  absl::string_view vmcoreinfo() const override { return vmcoreinfo_; }
  bool ReadPhysical(uint64_t address, void* to, size_t length) const override;

 private:
  explicit DumpFile(std::string path) : path_(std::move(path)) {}
  absl::Status Parse();
  absl::Status ParseNotes(absl::string_view bytes);

  const std::string path_;
  Mapping mapping_;
  std::vector<DumpNote> notes_;
  std::vector<DumpSegment> segments_;
  nlohmann::json facts_;
  absl::string_view vmcoreinfo_;
};

}  // namespace stasis

#endif  // STASIS_TOOLS_INSPECT_DUMP_FILE_H_
