#include "vmm/x86_64/mp_table.h"

#include <cstring>
#include <numeric>

#include "absl/strings/str_format.h"
#include "vmm/platform/machine_view.h"
#include "vmm/x86_64/platform_layout.h"

namespace stasis {
namespace {

// Structures of the MultiProcessor Specification 1.4, chapter 4. Little endian as the host is.
struct FloatingPointer {
  char signature[4] = {'_', 'M', 'P', '_'};
  uint32_t table_address = 0;
  uint8_t length = 1;  // in units of 16 bytes
  uint8_t revision = 4;
  uint8_t checksum = 0;
  uint8_t features[5] = {};  // 0: a table is there; no IMCR
} __attribute__((packed));
static_assert(sizeof(FloatingPointer) == 16);

struct TableHeader {
  char signature[4] = {'P', 'C', 'M', 'P'};
  uint16_t length = 0;
  uint8_t revision = 4;
  uint8_t checksum = 0;
  char oem[8] = {'S', 'T', 'A', 'S', 'I', 'S', ' ', ' '};
  char product[12] = {'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ', ' ', ' ', ' ', ' '};
  uint32_t oem_table = 0;
  uint16_t oem_table_size = 0;
  uint16_t entries = 0;
  uint32_t local_apic = kLocalApicBase;
  uint16_t extended_length = 0;
  uint8_t extended_checksum = 0;
  uint8_t reserved = 0;
} __attribute__((packed));
static_assert(sizeof(TableHeader) == 44);

struct ProcessorEntry {
  uint8_t type = 0;
  uint8_t apic_id = 0;
  uint8_t apic_version = 0x14;
  uint8_t flags = 1;  // enabled; 2: bootstrap processor
  uint32_t signature = 0;
  uint32_t features = 0x201;  // FPU and APIC; the kernel asks CPUID
  uint32_t reserved[2] = {};
} __attribute__((packed));
static_assert(sizeof(ProcessorEntry) == 20);

struct BusEntry {
  uint8_t type = 1;
  uint8_t bus = 0;
  char name[6] = {'I', 'S', 'A', ' ', ' ', ' '};
} __attribute__((packed));

struct IoApicEntry {
  uint8_t type = 2;
  uint8_t apic_id = 0;
  uint8_t version = 0x11;
  uint8_t flags = 1;  // usable
  uint32_t address = kIoApicBase;
} __attribute__((packed));

// Type 3: an input of the I/O APIC; type 4: a LINT pin. Polarity and trigger mode conform to the
// bus, which for ISA means active-high edges.
struct InterruptEntry {
  uint8_t type = 3;
  uint8_t kind = 0;  // 0: INT, 1: NMI, 3: ExtINT
  uint16_t flags = 0;
  uint8_t bus = 0;
  uint8_t bus_irq = 0;
  uint8_t apic_id = 0;
  uint8_t input = 0;
} __attribute__((packed));
static_assert(sizeof(BusEntry) == 8 && sizeof(IoApicEntry) == 8 && sizeof(InterruptEntry) == 8);

constexpr uint8_t kAllApics = 0xff;

template <typename Entry>
void Append(const Entry& entry, std::string* table, uint16_t* entries) {
  table->append(reinterpret_cast<const char*>(&entry), sizeof(entry));
  ++*entries;
}

// The byte that makes the sum of all bytes 0.
uint8_t Checksum(absl::string_view bytes) {
  return static_cast<uint8_t>(
      -std::accumulate(bytes.begin(), bytes.end(), 0u,
                       [](unsigned sum, char byte) { return sum + static_cast<uint8_t>(byte); }));
}

std::string Entries(const MachineView& view, uint8_t io_apic_id, uint16_t* count) {
  std::string table;
  for (const CpuInfo& cpu : view.cpus) {
    ProcessorEntry entry;
    entry.apic_id = static_cast<uint8_t>(cpu.hardware_id);
    if (cpu.index == 0) entry.flags |= 2;
    Append(entry, &table, count);
  }
  Append(BusEntry(), &table, count);
  IoApicEntry io_apic;
  io_apic.apic_id = io_apic_id;
  Append(io_apic, &table, count);
  // Inputs above 15 stand on the ISA bus as well: so Linux takes input and IRQ number as the same,
  // which virtio_mmio.device= relies on.
  for (uint8_t input = 0; input < kIoApicPins; ++input) {
    InterruptEntry entry;
    entry.bus_irq = input;
    entry.apic_id = io_apic_id;
    entry.input = input;
    Append(entry, &table, count);
  }
  InterruptEntry ext_int;
  ext_int.type = 4;
  ext_int.kind = 3;
  ext_int.apic_id = static_cast<uint8_t>(view.cpus.front().hardware_id);
  Append(ext_int, &table, count);
  InterruptEntry nmi;
  nmi.type = 4;
  nmi.kind = 1;
  nmi.apic_id = kAllApics;
  nmi.input = 1;
  Append(nmi, &table, count);
  return table;
}

}  // namespace

absl::StatusOr<MpTable> BuildMpTable(const DeviceTree& tree) {
  absl::StatusOr<MachineView> view = MachineView::FromTree(tree);
  if (!view.ok()) return view.status();
  if (view->First(kIoApicCompatible) == nullptr) {
    return absl::InvalidArgumentError("MP table: the device tree has no I/O APIC");
  }
  absl::StatusOr<uint8_t> io_apic_id = IoApicId(*view);
  if (!io_apic_id.ok()) return io_apic_id.status();

  TableHeader header;
  uint16_t count = 0;
  const std::string entries = Entries(*view, *io_apic_id, &count);
  header.entries = count;
  header.length = static_cast<uint16_t>(sizeof(header) + entries.size());
  std::string table(reinterpret_cast<const char*>(&header), sizeof(header));
  table += entries;
  table[offsetof(TableHeader, checksum)] = static_cast<char>(Checksum(table));

  FloatingPointer pointer;
  pointer.table_address = static_cast<uint32_t>(kMpTableBase + sizeof(pointer));
  std::string bytes(reinterpret_cast<const char*>(&pointer), sizeof(pointer));
  bytes[offsetof(FloatingPointer, checksum)] = static_cast<char>(Checksum(bytes));
  bytes += table;
  if (bytes.size() > kMpTableLimit - kMpTableBase) {
    return absl::InvalidArgumentError(
        absl::StrFormat("MP table: %d bytes for %d CPUs do not fit between %#x and %#x",
                        bytes.size(), view->cpus.size(), kMpTableBase, kMpTableLimit));
  }
  return MpTable{GuestAddress(kMpTableBase), std::move(bytes)};
}

}  // namespace stasis
