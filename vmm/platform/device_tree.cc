#include "vmm/platform/device_tree.h"

#include <algorithm>
#include <cstring>

extern "C" {
#include <libfdt.h>
}

#include "absl/strings/str_format.h"

namespace stasis {
namespace {

constexpr size_t kFirstBufferSize = 16 << 10;
constexpr size_t kMaxBufferSize = 4 << 20;  // far above any machine of kMaxVcpus CPUs
constexpr int kMaxPath = 1024;
constexpr uint32_t kDefaultAddressCells = 2;  // Devicetree Specification 0.4 §2.3.5
constexpr uint32_t kDefaultSizeCells = 1;

uint32_t BigEndian32(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

void AppendBigEndian32(uint32_t value, std::vector<uint8_t>* to) {
  for (int shift = 24; shift >= 0; shift -= 8) to->push_back(static_cast<uint8_t>(value >> shift));
}

}  // namespace

absl::StatusOr<DeviceTree> DeviceTree::FromBlob(std::string blob) {
  const int error = fdt_check_full(blob.data(), blob.size());
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("device tree of %d bytes: %s", blob.size(), fdt_strerror(error)));
  }
  return DeviceTree(std::move(blob));
}

std::optional<DeviceTree::Node> DeviceTree::Find(absl::string_view path) const {
  const int node = fdt_path_offset_namelen(blob_.data(), path.data(), path.size());
  // libfdt also takes aliases and names without the unit address; callers here mean one node.
  if (node < 0 || Path(node) != path) return std::nullopt;
  return node;
}

std::vector<DeviceTree::Node> DeviceTree::Children(Node node) const {
  std::vector<Node> children;
  for (int child = fdt_first_subnode(blob_.data(), node); child >= 0;
       child = fdt_next_subnode(blob_.data(), child)) {
    children.push_back(child);
  }
  return children;
}

std::vector<DeviceTree::Node> DeviceTree::FindCompatible(absl::string_view compatible) const {
  const std::string name(compatible);
  std::vector<Node> nodes;
  for (int node = fdt_node_offset_by_compatible(blob_.data(), -1, name.c_str()); node >= 0;
       node = fdt_node_offset_by_compatible(blob_.data(), node, name.c_str())) {
    nodes.push_back(node);
  }
  return nodes;
}

std::optional<DeviceTree::Node> DeviceTree::FindPhandle(uint32_t phandle) const {
  const int node = fdt_node_offset_by_phandle(blob_.data(), phandle);
  if (node < 0) return std::nullopt;
  return node;
}

std::optional<DeviceTree::Node> DeviceTree::Parent(Node node) const {
  const int parent = fdt_parent_offset(blob_.data(), node);
  if (parent < 0) return std::nullopt;
  return parent;
}

std::string DeviceTree::Name(Node node) const {
  int length = 0;
  const char* name = fdt_get_name(blob_.data(), node, &length);
  return name == nullptr ? std::string() : std::string(name, length);
}

std::string DeviceTree::Path(Node node) const {
  char path[kMaxPath];
  if (fdt_get_path(blob_.data(), node, path, sizeof(path)) != 0) return "?";
  return path;
}

bool DeviceTree::Has(Node node, absl::string_view property) const {
  return Bytes(node, property).has_value();
}

std::optional<absl::Span<const uint8_t>> DeviceTree::Bytes(Node node,
                                                           absl::string_view property) const {
  int length = 0;
  const void* value =
      fdt_getprop_namelen(blob_.data(), node, property.data(), property.size(), &length);
  if (value == nullptr || length < 0) return std::nullopt;
  return absl::MakeConstSpan(static_cast<const uint8_t*>(value), length);
}

std::optional<uint32_t> DeviceTree::Cell(Node node, absl::string_view property) const {
  const auto bytes = Bytes(node, property);
  if (!bytes || bytes->size() != 4) return std::nullopt;
  return BigEndian32(bytes->data());
}

std::optional<std::vector<uint32_t>> DeviceTree::Cells(Node node,
                                                       absl::string_view property) const {
  const auto bytes = Bytes(node, property);
  if (!bytes || bytes->size() % 4 != 0) return std::nullopt;
  std::vector<uint32_t> cells;
  for (size_t at = 0; at < bytes->size(); at += 4) cells.push_back(BigEndian32(bytes->data() + at));
  return cells;
}

std::optional<uint64_t> DeviceTree::Number(Node node, absl::string_view property) const {
  const auto cells = Cells(node, property);
  if (!cells || cells->empty() || cells->size() > 2) return std::nullopt;
  uint64_t value = 0;
  for (uint32_t cell : *cells) value = value << 32 | cell;
  return value;
}

std::optional<std::string> DeviceTree::String(Node node, absl::string_view property) const {
  const auto strings = Strings(node, property);
  if (!strings || strings->size() != 1) return std::nullopt;
  return strings->front();
}

std::optional<std::vector<std::string>> DeviceTree::Strings(Node node,
                                                            absl::string_view property) const {
  const auto bytes = Bytes(node, property);
  if (!bytes || bytes->empty() || bytes->back() != 0) return std::nullopt;
  std::vector<std::string> strings;
  for (auto from = bytes->begin(); from != bytes->end();) {
    const auto end = std::find(from, bytes->end(), 0);
    strings.emplace_back(from, end);
    from = end + 1;
  }
  return strings;
}

bool DeviceTree::IsCompatible(Node node, absl::string_view compatible) const {
  const auto strings = Strings(node, "compatible");
  return strings && std::find(strings->begin(), strings->end(), compatible) != strings->end();
}

absl::StatusOr<std::vector<RegWindow>> DeviceTree::Reg(Node node) const {
  const auto parent = Parent(node);
  const auto cells = Cells(node, "reg");
  if (!parent || !cells || cells->empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("device tree: %s has no usable reg", Path(node)));
  }
  const uint32_t address_cells = Cell(*parent, "#address-cells").value_or(kDefaultAddressCells);
  const uint32_t size_cells = Cell(*parent, "#size-cells").value_or(kDefaultSizeCells);
  if (address_cells < 1 || address_cells > 2 || size_cells > 2 ||
      cells->size() % (address_cells + size_cells) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "device tree: reg of %s has %d cells; its parent has %d per address and %d per size",
        Path(node), cells->size(), address_cells, size_cells));
  }
  // An ISA address is a space number beside the 32-bit address proper.
  const bool isa = IsCompatible(*parent, "isa");
  std::vector<RegWindow> windows;
  for (auto cell = cells->begin(); cell != cells->end();) {
    RegWindow window;
    if (isa && address_cells == 2) {
      window.space = *cell++;
      window.base = *cell++;
    } else {
      for (uint32_t i = 0; i < address_cells; ++i) window.base = window.base << 32 | *cell++;
    }
    for (uint32_t i = 0; i < size_cells; ++i) window.size = window.size << 32 | *cell++;
    windows.push_back(window);
  }
  return windows;
}

DeviceTreeWriter::DeviceTreeWriter() : buffer_(kFirstBufferSize, '\0') {
  status_ = Run("header", [](void* fdt) {
    const int error = fdt_create(fdt, kFirstBufferSize);
    return error != 0 ? error : fdt_finish_reservemap(fdt);
  });
}

template <typename Step>
absl::Status DeviceTreeWriter::Run(absl::string_view what, Step step) {
  if (!status_.ok()) return status_;
  int error = step(buffer_.data());
  while (error == -FDT_ERR_NOSPACE && buffer_.size() < kMaxBufferSize) {
    std::string larger(buffer_.size() * 2, '\0');
    error = fdt_resize(buffer_.data(), larger.data(), larger.size());
    if (error != 0) break;
    buffer_ = std::move(larger);
    error = step(buffer_.data());
  }
  if (error != 0) {
    status_ = absl::InternalError(
        absl::StrFormat("writing the device tree, %s: %s", what, fdt_strerror(error)));
  }
  return status_;
}

absl::Status DeviceTreeWriter::BeginNode(absl::string_view name) {
  const std::string text(name);
  const absl::Status status =
      Run(text, [&](void* fdt) { return fdt_begin_node(fdt, text.c_str()); });
  if (status.ok()) ++depth_;
  return status;
}

absl::Status DeviceTreeWriter::EndNode() {
  if (status_.ok() && depth_ == 0) {
    status_ = absl::FailedPreconditionError("writing the device tree: no node is open");
  }
  const absl::Status status = Run("end of a node", [](void* fdt) { return fdt_end_node(fdt); });
  if (status.ok()) --depth_;
  return status;
}

absl::Status DeviceTreeWriter::Property(absl::string_view name, const void* value, size_t size) {
  const std::string text(name);
  return Run(text, [&](void* fdt) {
    return fdt_property(fdt, text.c_str(), value, static_cast<int>(size));
  });
}

absl::Status DeviceTreeWriter::Flag(absl::string_view name) { return Property(name, "", 0); }

absl::Status DeviceTreeWriter::Cell(absl::string_view name, uint32_t value) {
  return Cells(name, {value});
}

absl::Status DeviceTreeWriter::Cells(absl::string_view name, absl::Span<const uint32_t> values) {
  std::vector<uint8_t> bytes;
  for (uint32_t value : values) AppendBigEndian32(value, &bytes);
  return Bytes(name, bytes);
}

absl::Status DeviceTreeWriter::Number(absl::string_view name, uint64_t value) {
  return Cells(name, {static_cast<uint32_t>(value >> 32), static_cast<uint32_t>(value)});
}

absl::Status DeviceTreeWriter::String(absl::string_view name, absl::string_view value) {
  return Strings(name, {std::string(value)});
}

absl::Status DeviceTreeWriter::Strings(absl::string_view name,
                                       absl::Span<const std::string> values) {
  std::string bytes;
  for (const std::string& value : values) bytes.append(value.c_str(), value.size() + 1);
  return Property(name, bytes.data(), bytes.size());
}

absl::Status DeviceTreeWriter::Bytes(absl::string_view name, absl::Span<const uint8_t> value) {
  return Property(name, value.data(), value.size());
}

absl::StatusOr<DeviceTree> DeviceTreeWriter::Finish() {
  if (status_.ok() && depth_ != 0) {
    status_ = absl::FailedPreconditionError(
        absl::StrFormat("writing the device tree: %d nodes are still open", depth_));
  }
  absl::Status status = Run("end", [](void* fdt) { return fdt_finish(fdt); });
  if (!status.ok()) return status;
  status_ = absl::FailedPreconditionError("writing the device tree: it is finished");
  return DeviceTree::FromBlob(buffer_.substr(0, fdt_totalsize(buffer_.data())));
}

}  // namespace stasis
