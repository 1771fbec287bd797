// DeviceTree and DeviceTreeWriter: flattened device trees (Devicetree Specification 0.4), read with
// every access checked and written piece by piece, both on top of libfdt.
#ifndef STASIS_VMM_PLATFORM_DEVICE_TREE_H_
#define STASIS_VMM_PLATFORM_DEVICE_TREE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace stasis {

// One window of a node's `reg`. `space` is the leading cell where the parent's addresses have one
// beside a 32-bit number (ISA: 1 = I/O ports), else 0.
struct RegWindow {
  uint32_t space = 0;
  uint64_t base = 0;
  uint64_t size = 0;
};

// Owns a blob, immutable after FromBlob: all members may be called from any thread. Node handles
// are libfdt structure offsets and live as long as the tree.
class DeviceTree {
 public:
  using Node = int;

  // Error: InvalidArgument if the blob is no valid tree (header, structure block, strings).
  static absl::StatusOr<DeviceTree> FromBlob(std::string blob);

  const std::string& blob() const { return blob_; }

  Node root() const { return 0; }
  std::optional<Node> Find(absl::string_view path) const;  // exact path: "/soc/serial@1000"
  std::vector<Node> Children(Node node) const;
  std::vector<Node> FindCompatible(absl::string_view compatible) const;  // whole tree, in order
  std::optional<Node> FindPhandle(uint32_t phandle) const;
  std::optional<Node> Parent(Node node) const;

  std::string Name(Node node) const;  // with the unit address
  std::string Path(Node node) const;

  // Properties. A property that is absent or has another shape (length, terminator) is nullopt.
  bool Has(Node node, absl::string_view property) const;
  std::optional<absl::Span<const uint8_t>> Bytes(Node node, absl::string_view property) const;
  std::optional<uint32_t> Cell(Node node, absl::string_view property) const;  // exactly one cell
  std::optional<std::vector<uint32_t>> Cells(Node node, absl::string_view property) const;
  std::optional<uint64_t> Number(Node node, absl::string_view property) const;  // one or two cells
  std::optional<std::string> String(Node node, absl::string_view property) const;
  std::optional<std::vector<std::string>> Strings(Node node, absl::string_view property) const;
  bool IsCompatible(Node node, absl::string_view compatible) const;

  // `reg` by the parent's #address-cells and #size-cells (2 and 1 where absent).
  // Error: InvalidArgument with the node's path (missing, length no multiple of one entry, cells
  // this project does not write).
  absl::StatusOr<std::vector<RegWindow>> Reg(Node node) const;

 private:
  explicit DeviceTree(std::string blob) : blob_(std::move(blob)) {}
  std::string blob_;
};

// Writes one tree from the root down. The first failure sticks: every later call is a no-op, and
// Finish reports it, so that callers need not look after each line. One thread.
class DeviceTreeWriter {
 public:
  DeviceTreeWriter();

  // The first node is the root, with name "".
  absl::Status BeginNode(absl::string_view name);
  absl::Status EndNode();

  // All properties of a node come before its child nodes (the format wants it so).
  absl::Status Flag(absl::string_view name);
  absl::Status Cell(absl::string_view name, uint32_t value);
  absl::Status Cells(absl::string_view name, absl::Span<const uint32_t> values);
  absl::Status Number(absl::string_view name, uint64_t value);  // two cells
  absl::Status String(absl::string_view name, absl::string_view value);
  absl::Status Strings(absl::string_view name, absl::Span<const std::string> values);
  absl::Status Bytes(absl::string_view name, absl::Span<const uint8_t> value);

  const absl::Status& status() const { return status_; }

  // Ends the tree. Error: the first failure; FailedPrecondition (a node is still open).
  absl::StatusOr<DeviceTree> Finish();

 private:
  // Runs `step` (a libfdt sequential-write call on buffer_) with a larger buffer until it fits.
  template <typename Step>
  absl::Status Run(absl::string_view what, Step step);
  absl::Status Property(absl::string_view name, const void* value, size_t size);

  std::string buffer_;
  int depth_ = 0;
  absl::Status status_;
};

}  // namespace stasis

#endif  // STASIS_VMM_PLATFORM_DEVICE_TREE_H_
