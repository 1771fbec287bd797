#include "vmm/x86_64/acpi.h"

#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "vmm/platform/machine_view.h"
#include "vmm/x86_64/aml.h"
#include "vmm/x86_64/platform_layout.h"

namespace stasis {
namespace {

constexpr char kOem[] = "STASIS";
constexpr char kOemTable[] = "MICROVM ";
constexpr uint64_t kTableAlignment = 16;
constexpr uint64_t kMaxXApicId = 254;

// Structures of ACPI 6.5 chapter 5; the section stands beside each. Little endian as the host is.

struct Header {  // §5.2.6
  char signature[4];
  uint32_t length;
  uint8_t revision;
  uint8_t checksum;
  char oem[6];
  char oem_table[8];
  uint32_t oem_revision;
  char creator[4];
  uint32_t creator_revision;
} __attribute__((packed));
static_assert(sizeof(Header) == 36);

struct Rsdp {  // §5.2.5.3
  char signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
  uint8_t checksum = 0;  // of the first 20 bytes
  char oem[6] = {'S', 'T', 'A', 'S', 'I', 'S'};
  uint8_t revision = 2;
  uint32_t rsdt = 0;
  uint32_t length = 36;
  uint64_t xsdt = 0;
  uint8_t extended_checksum = 0;
  uint8_t reserved[3] = {};
} __attribute__((packed));
static_assert(sizeof(Rsdp) == 36);

struct Register {     // generic address structure, §5.2.3.2
  uint8_t space = 0;  // 1: I/O ports
  uint8_t bits = 0;
  uint8_t offset = 0;
  uint8_t access = 0;  // 1: bytes
  uint64_t address = 0;
} __attribute__((packed));
static_assert(sizeof(Register) == 12);

struct Fadt {  // §5.2.9, behind the header; fields that hardware-reduced ACPI ignores stay 0
  uint32_t facs = 0;
  uint32_t dsdt = 0;
  uint8_t unused_1[65] = {};
  // No VGA, no CMOS clock, no ASPM. Bits 0 and 1 clear: no legacy devices and no 8042, although
  // there may be its reset port: a kernel that looked for a keyboard would wait for answers.
  uint16_t boot_flags = 1 << 2 | 1 << 4 | 1 << 5;
  uint8_t reserved_1 = 0;
  uint32_t flags = 0;
  Register reset;
  uint8_t reset_value = 0;
  uint16_t arm_boot_flags = 0;
  uint8_t minor_version = 5;
  uint64_t x_facs = 0;
  uint64_t x_dsdt = 0;
  Register unused_2[8];
  Register sleep_control;
  Register sleep_status;
  uint64_t hypervisor = 0;
} __attribute__((packed));
static_assert(sizeof(Header) + sizeof(Fadt) == 276);
static_assert(sizeof(Header) + offsetof(Fadt, boot_flags) == 109);
static_assert(sizeof(Header) + offsetof(Fadt, reset) == 116);
static_assert(sizeof(Header) + offsetof(Fadt, x_dsdt) == 140);
static_assert(sizeof(Header) + offsetof(Fadt, sleep_control) == 244);

constexpr uint32_t kFlagWbinvd = 1 << 0;
constexpr uint32_t kFlagPowerButtonIsDevice = 1 << 4;  // and there is none in the namespace
constexpr uint32_t kFlagSleepButtonIsDevice = 1 << 5;
constexpr uint32_t kFlagResetRegister = 1 << 10;
constexpr uint32_t kFlagHardwareReduced = 1 << 20;

struct LocalApic {  // §5.2.12.2
  uint8_t type = 0;
  uint8_t length = 8;
  uint8_t uid = 0;
  uint8_t id = 0;
  uint32_t flags = 1;  // enabled
} __attribute__((packed));

struct LocalX2Apic {  // §5.2.12.12
  uint8_t type = 9;
  uint8_t length = 16;
  uint16_t reserved = 0;
  uint32_t id = 0;
  uint32_t flags = 1;
  uint32_t uid = 0;
} __attribute__((packed));

struct IoApicStructure {  // §5.2.12.3
  uint8_t type = 1;
  uint8_t length = 12;
  uint8_t id = 0;
  uint8_t reserved = 0;
  uint32_t address = 0;
  uint32_t first_gsi = 0;
} __attribute__((packed));

struct LocalApicNmi {  // §5.2.12.7
  uint8_t type = 4;
  uint8_t length = 6;
  uint8_t uid = 0xff;  // all
  uint16_t flags = 0;
  uint8_t lint = 1;
} __attribute__((packed));

struct ApicAffinity {  // §5.2.16.1
  uint8_t type = 0;
  uint8_t length = 16;
  uint8_t domain_low = 0;
  uint8_t id = 0;
  uint32_t flags = 1;
  uint8_t sapic_eid = 0;
  uint8_t domain_high[3] = {};
  uint32_t clock_domain = 0;
} __attribute__((packed));

struct MemoryAffinity {  // §5.2.16.2
  uint8_t type = 1;
  uint8_t length = 40;
  uint32_t domain = 0;
  uint16_t reserved_1 = 0;
  uint64_t base = 0;
  uint64_t size = 0;
  uint32_t reserved_2 = 0;
  uint32_t flags = 1;
  uint64_t reserved_3 = 0;
} __attribute__((packed));

struct X2ApicAffinity {  // §5.2.16.3
  uint8_t type = 2;
  uint8_t length = 24;
  uint16_t reserved_1 = 0;
  uint32_t domain = 0;
  uint32_t id = 0;
  uint32_t flags = 1;
  uint32_t clock_domain = 0;
  uint32_t reserved_2 = 0;
} __attribute__((packed));
static_assert(sizeof(LocalApic) == 8 && sizeof(LocalX2Apic) == 16 && sizeof(ApicAffinity) == 16 &&
              sizeof(MemoryAffinity) == 40 && sizeof(X2ApicAffinity) == 24);

template <typename T>
std::string Raw(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

uint8_t Checksum(absl::string_view bytes) {
  uint8_t sum = 0;
  for (char byte : bytes) sum += static_cast<uint8_t>(byte);
  return static_cast<uint8_t>(-sum);
}

std::string Table(absl::string_view signature, uint8_t revision, absl::string_view body) {
  Header header = {};
  std::memcpy(header.signature, signature.data(), sizeof(header.signature));
  header.length = static_cast<uint32_t>(sizeof(header) + body.size());
  header.revision = revision;
  std::memcpy(header.oem, kOem, sizeof(header.oem));
  std::memcpy(header.oem_table, kOemTable, sizeof(header.oem_table));
  header.oem_revision = 1;
  std::memcpy(header.creator, "STAS", sizeof(header.creator));
  header.creator_revision = 1;
  std::string table = absl::StrCat(Raw(header), body);
  table[offsetof(Header, checksum)] = static_cast<char>(Checksum(table));
  return table;
}

Register BytePort(uint64_t port) {
  Register reg;
  reg.space = 1;
  reg.bits = 8;
  reg.access = 1;
  reg.address = port;
  return reg;
}

std::string BuildFadt(const MachineView& view, uint64_t dsdt) {
  Fadt fadt;
  fadt.dsdt = static_cast<uint32_t>(dsdt);
  fadt.x_dsdt = dsdt;
  fadt.flags =
      kFlagWbinvd | kFlagPowerButtonIsDevice | kFlagSleepButtonIsDevice | kFlagHardwareReduced;
  if (const DeviceInfo* power = view.First(kPowerCompatible)) {
    fadt.flags |= kFlagResetRegister;
    fadt.reset = BytePort(power->base + kResetOffset);
    fadt.reset_value = kResetValue;
    fadt.sleep_control = BytePort(power->base + kSleepControlOffset);
    fadt.sleep_status = BytePort(power->base + kSleepStatusOffset);
  }
  return Table("FACP", 6, Raw(fadt));
}

// 3 decimal digits are enough for 252 CPUs; a device counter has 3 as well.
std::string Segment(char letter, uint32_t number) {
  return absl::StrFormat("%c%03d", letter, number % 1000);
}

std::string CpuDevice(const CpuInfo& cpu) {
  return aml::Device(Segment('C', cpu.index), aml::Name("_HID", aml::String("ACPI0007")) +
                                                  aml::Name("_UID", aml::Integer(cpu.index)) +
                                                  aml::Name("_PXM", aml::Integer(cpu.numa_node)));
}

std::string VirtioDevice(const DeviceInfo& device, uint32_t number) {
  std::string resources = aml::MemoryFixed(device.base, device.size);
  if (device.gsi) resources += aml::EdgeInterrupt(*device.gsi);
  return aml::Device(Segment('V', number),
                     aml::Name("_HID", aml::String("LNRO0005")) +
                         aml::Name("_UID", aml::Integer(number)) +
                         aml::Name("_CCA", aml::Integer(1)) +  // DMA is coherent
                         aml::Name("_CRS", aml::ResourceTemplate(resources)));
}

std::string SerialDevice(const DeviceInfo& device, uint32_t number) {
  std::string resources =
      aml::IoPorts(static_cast<uint16_t>(device.base), static_cast<uint8_t>(device.size));
  if (device.gsi) resources += aml::EdgeInterrupt(*device.gsi);
  return aml::Device(absl::StrFormat("COM%d", number + 1),
                     aml::Name("_HID", aml::EisaId("PNP0501")) +
                         aml::Name("_UID", aml::Integer(number + 1)) +
                         aml::Name("_CRS", aml::ResourceTemplate(resources)));
}

std::string PanicDevice(const DeviceInfo& device) {
  const std::string ports =
      aml::IoPorts(static_cast<uint16_t>(device.base), static_cast<uint8_t>(device.size));
  return aml::Device("PEVT", aml::Name("_HID", aml::String("QEMU0001")) +
                                 aml::Name("_STA", aml::Integer(0xf)) +
                                 aml::Name("_CRS", aml::ResourceTemplate(ports)));
}

std::string BuildDsdt(const MachineView& view) {
  std::string bus;
  for (const CpuInfo& cpu : view.cpus) bus += CpuDevice(cpu);
  uint32_t serials = 0, virtios = 0;
  for (const DeviceInfo& device : view.devices) {
    if (device.IsCompatible("virtio,mmio")) bus += VirtioDevice(device, virtios++);
    if (device.is_port && device.IsCompatible(kSerialCompatible)) {
      bus += SerialDevice(device, serials++);
    }
    if (device.is_port && device.IsCompatible(kPanicCompatible)) bus += PanicDevice(device);
  }
  std::string dsdt = aml::Scope("\\_SB", bus);
  if (view.First(kPowerCompatible) != nullptr) {
    dsdt += aml::Name("\\_S5", aml::Package(2, aml::Integer(kSleepTypeS5) + aml::Integer(0)));
  }
  return Table("DSDT", 2, dsdt);
}

std::string BuildMadt(const MachineView& view, uint8_t io_apic_id) {
  const uint32_t local_apic_and_flags[2] = {kLocalApicBase, 0};  // flags 0: no 8259 PIC
  std::string body = Raw(local_apic_and_flags);
  for (const CpuInfo& cpu : view.cpus) {
    if (cpu.hardware_id <= kMaxXApicId) {
      LocalApic apic;
      apic.uid = static_cast<uint8_t>(cpu.index);
      apic.id = static_cast<uint8_t>(cpu.hardware_id);
      body += Raw(apic);
    } else {
      LocalX2Apic apic;
      apic.uid = cpu.index;
      apic.id = static_cast<uint32_t>(cpu.hardware_id);
      body += Raw(apic);
    }
  }
  for (const DeviceInfo* device : view.Compatible(kIoApicCompatible)) {
    IoApicStructure io_apic;
    io_apic.id = io_apic_id;
    io_apic.address = static_cast<uint32_t>(device->base);
    body += Raw(io_apic);
  }
  body += Raw(LocalApicNmi());
  return Table("APIC", 5, body);
}

std::string BuildSrat(const MachineView& view) {
  std::string body(12, '\0');
  body[0] = 1;  // reserved, must be 1
  for (const CpuInfo& cpu : view.cpus) {
    if (cpu.hardware_id <= kMaxXApicId) {
      ApicAffinity affinity;
      affinity.domain_low = static_cast<uint8_t>(cpu.numa_node);
      affinity.id = static_cast<uint8_t>(cpu.hardware_id);
      body += Raw(affinity);
    } else {
      X2ApicAffinity affinity;
      affinity.domain = cpu.numa_node;
      affinity.id = static_cast<uint32_t>(cpu.hardware_id);
      body += Raw(affinity);
    }
  }
  for (const MemoryInfo& range : view.memory) {
    MemoryAffinity affinity;
    affinity.domain = range.numa_node;
    affinity.base = range.base;
    affinity.size = range.size;
    body += Raw(affinity);
  }
  return Table("SRAT", 3, body);
}

std::string BuildSlit(const MachineView& view) {
  std::string body = Raw(uint64_t{view.numa_nodes});
  for (const std::vector<uint8_t>& row : view.distances) body.append(row.begin(), row.end());
  return Table("SLIT", 1, body);
}

// Lays tables out one after the other.
class Area {
 public:
  explicit Area(const AcpiOptions& options) : options_(options) {}

  uint64_t Next() const {
    return options_.base + (blob_.size() + kTableAlignment - 1) / kTableAlignment * kTableAlignment;
  }

  uint64_t Add(absl::string_view signature, std::string bytes) {
    const uint64_t address = Next();
    blob_.resize(address - options_.base, '\0');
    blob_ += bytes;
    tables_.push_back({std::string(signature), GuestAddress(address), std::move(bytes)});
    return address;
  }

  // Puts the root pointer, for which room was kept, in place and hands everything out.
  absl::StatusOr<AcpiTables> Finish(const std::string& rsdp, size_t cpus) {
    if (options_.base + blob_.size() > options_.limit) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("ACPI: %d bytes of tables for %d CPUs do not fit between %#x and %#x",
                          blob_.size(), cpus, options_.base, options_.limit));
    }
    blob_.replace(0, rsdp.size(), rsdp);
    tables_.front().bytes = rsdp;
    return AcpiTables{GuestAddress(options_.base), std::move(blob_), GuestAddress(options_.base),
                      std::move(tables_)};
  }

 private:
  const AcpiOptions& options_;
  std::string blob_;
  std::vector<AcpiTable> tables_;
};

}  // namespace

absl::StatusOr<AcpiTables> BuildAcpi(const DeviceTree& tree, const AcpiOptions& options) {
  absl::StatusOr<MachineView> view = MachineView::FromTree(tree);
  if (!view.ok()) return view.status();
  absl::StatusOr<uint8_t> io_apic_id = IoApicId(*view);
  // Machines beyond APIC ID 254 can be described all the same; the I/O APIC's ID is 0 then.
  const uint8_t io_apic = io_apic_id.ok() ? *io_apic_id : 0;

  Area area(options);
  area.Add("RSDP", std::string(sizeof(Rsdp), '\0'));
  const uint64_t dsdt = area.Add("DSDT", BuildDsdt(*view));
  std::vector<uint64_t> roots;
  roots.push_back(area.Add("FACP", BuildFadt(*view, dsdt)));
  roots.push_back(area.Add("APIC", BuildMadt(*view, io_apic)));
  roots.push_back(area.Add("SRAT", BuildSrat(*view)));
  roots.push_back(area.Add("SLIT", BuildSlit(*view)));
  std::string pointers;
  for (uint64_t address : roots) pointers += Raw(address);

  Rsdp rsdp;
  rsdp.xsdt = area.Add("XSDT", Table("XSDT", 1, pointers));
  std::string root = Raw(rsdp);
  root[offsetof(Rsdp, checksum)] = static_cast<char>(Checksum(root.substr(0, 20)));
  root[offsetof(Rsdp, extended_checksum)] = static_cast<char>(Checksum(root));
  return area.Finish(root, view->cpus.size());
}

}  // namespace stasis
