#include "vmm/boot/x86_64/linux_loader.h"

#include <asm/bootparam.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/boot/testing/test_images.h"
#include "vmm/boot/x86_64/layout.h"

namespace stasis {
namespace {

using namespace x86_64;  // NOLINT: the layout's names
using testing::Bytes;
using ::testing::HasSubstr;
using testing::MakeBzImage;
using testing::MakeElf;

constexpr uint64_t kMiB = 1 << 20;

std::unique_ptr<GuestMemory> Memory(std::vector<uint64_t> megabytes) {
  std::vector<MemoryRegion> regions;
  GuestAddress base(0);
  for (uint64_t size : megabytes) {
    regions.push_back({base, size * kMiB, static_cast<uint32_t>(regions.size()), nullptr});
    base = base + size * kMiB;
  }
  auto memory = GuestMemory::Create(std::move(regions));
  EXPECT_TRUE(memory.ok()) << memory.status();
  return *std::move(memory);
}

class LinuxLoaderTest : public ::testing::Test {
 protected:
  KernelImage Image(const Bytes& bytes, const KernelImageOptions& options = {}) {
    auto image = KernelImage::Load(directory_.Write("kernel", bytes), options);
    EXPECT_TRUE(image.ok()) << image.status();
    return *std::move(image);
  }
  static BootParams Params(const GuestMemory& memory) {
    BootParams params;
    params.cmdline = "console=ttyS0";
    params.e820 = StandardE820(memory);
    return params;
  }
  static std::string Error(const absl::StatusOr<BootEntry>& entry) {
    return std::string(entry.status().message());
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(LinuxLoaderTest, KernelCmdlineAndBootParamsAreWhereTheProtocolSays) {
  auto memory = Memory({64});
  const KernelImage kernel = Image(MakeBzImage({}, MakeElf({})));
  BootParams params = Params(*memory);
  params.rsdp = GuestAddress(0xe0000);

  auto entry = LoadLinux(kernel, *memory, params);

  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->rip, GuestAddress(0x1000040));
  EXPECT_EQ(memory->Load<uint8_t>(entry->rip), 0xf4);
  EXPECT_EQ(entry->rsi, kBootParamsAddress);
  const auto zero_page = memory->Load<boot_params>(entry->rsi).value();
  EXPECT_EQ(zero_page.sentinel, 0);
  EXPECT_EQ(zero_page.hdr.header, 0x53726448u);
  EXPECT_EQ(zero_page.hdr.boot_flag, 0xaa55);
  EXPECT_EQ(zero_page.hdr.type_of_loader, 0xff);
  EXPECT_EQ(zero_page.hdr.setup_data, 0u);
  EXPECT_EQ(zero_page.hdr.ramdisk_size, 0u);
  EXPECT_EQ(zero_page.acpi_rsdp_addr, 0xe0000u);
  const auto cmdline = memory->Slice(GuestAddress(zero_page.hdr.cmd_line_ptr), 14);
  EXPECT_STREQ(reinterpret_cast<const char*>(cmdline.data()), "console=ttyS0");
}

TEST_F(LinuxLoaderTest, ABareElfGetsAHeaderOfItsOwn) {
  auto memory = Memory({64});
  auto entry = LoadLinux(Image(MakeElf({})), *memory, Params(*memory));
  ASSERT_TRUE(entry.ok()) << entry.status();
  const auto zero_page = memory->Load<boot_params>(entry->rsi).value();
  EXPECT_EQ(zero_page.hdr.header, 0x53726448u);
  EXPECT_GE(zero_page.hdr.version, 0x020c);
}

TEST_F(LinuxLoaderTest, ABzImageForTheGuestToUnpackStartsAtItsSixtyFourBitEntry) {
  auto memory = Memory({64});
  const Bytes bytes = MakeBzImage({}, MakeElf({}));
  auto entry = LoadLinux(Image(bytes, {.load_as_bzimage = true}), *memory, Params(*memory));
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->rip, GuestAddress(0x1000200));
  EXPECT_EQ(entry->kernel_end, GuestAddress(0x1800000));
  const auto code = absl::MakeConstSpan(bytes).subspan(4 * 512);
  EXPECT_EQ(memory->Slice(GuestAddress(0x1000000), code.size()), code);
}

TEST_F(LinuxLoaderTest, TheMemoryMapLeavesOutTheHolesOfTheFirstMegabyte) {
  auto memory = Memory({32, 32});
  auto entry = LoadLinux(Image(MakeElf({})), *memory, Params(*memory));
  ASSERT_TRUE(entry.ok()) << entry.status();
  const auto zero_page = memory->Load<boot_params>(entry->rsi).value();
  ASSERT_EQ(zero_page.e820_entries, 4);
  EXPECT_EQ(zero_page.e820_table[0].addr, 0u);
  EXPECT_EQ(zero_page.e820_table[0].size, 0x9fc00u);
  EXPECT_EQ(zero_page.e820_table[1].type, E820Entry::kReserved);
  EXPECT_EQ(zero_page.e820_table[2].addr, 0xe0000u);
  EXPECT_EQ(zero_page.e820_table[3].addr, 0x100000u);
  EXPECT_EQ(zero_page.e820_table[3].size, 63 * kMiB);
}

TEST_F(LinuxLoaderTest, PageTablesMapTheFirstFourGigabytesToThemselves) {
  auto memory = Memory({64});
  auto entry = LoadLinux(Image(MakeElf({})), *memory, Params(*memory));
  ASSERT_TRUE(entry.ok()) << entry.status();
  // Walks as the processor does, for addresses at both ends of the map.
  for (uint64_t address :
       {uint64_t{0}, uint64_t{0x1234567}, uint64_t{0xfee00000}, (uint64_t{4} << 30) - 1}) {
    uint64_t table = entry->cr3.value();
    for (int shift : {39, 30}) {
      const auto next = memory->Load<uint64_t>(GuestAddress(table + (address >> shift) % 512 * 8));
      ASSERT_EQ(*next & 0xfff, 0x3u);
      table = *next & ~uint64_t{0xfff};
    }
    const auto leaf = memory->Load<uint64_t>(GuestAddress(table + (address >> 21) % 512 * 8));
    EXPECT_EQ(*leaf & 0xfff, 0x83u);
    EXPECT_EQ((*leaf & ~uint64_t{0xfff}) + address % (2 * kMiB), address);
  }
}

TEST_F(LinuxLoaderTest, SelectorsLeadToFlatSegments) {
  auto memory = Memory({64});
  auto entry = LoadLinux(Image(MakeElf({})), *memory, Params(*memory));
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->code_selector, 0x10);  // __BOOT_CS
  EXPECT_EQ(entry->data_selector, 0x18);  // __BOOT_DS
  EXPECT_EQ(memory->Load<uint64_t>(entry->gdt_base + 0x10), 0x00af9b000000ffffu);
  EXPECT_EQ(memory->Load<uint64_t>(entry->gdt_base + 0x18), 0x00cf93000000ffffu);
  EXPECT_GE(entry->gdt_limit, 0x20 + 15);
}

TEST_F(LinuxLoaderTest, TheInitramfsLiesAtTheEndOfMemory) {
  auto memory = Memory({64});
  const Bytes initrd(5000, 'i');
  BootParams params = Params(*memory);
  params.initrd = initrd;
  auto entry = LoadLinux(Image(MakeElf({})), *memory, params);
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->initrd, GuestAddress(64 * kMiB - 8192));
  const auto zero_page = memory->Load<boot_params>(entry->rsi).value();
  EXPECT_EQ(zero_page.hdr.ramdisk_image, 64 * kMiB - 8192);
  EXPECT_EQ(zero_page.hdr.ramdisk_size, 5000u);
  EXPECT_EQ(memory->Slice(entry->initrd, 5000), absl::MakeConstSpan(initrd));
}

TEST_F(LinuxLoaderTest, TheInitramfsStaysBelowTheKernelsLimit) {
  auto memory = Memory({64});
  Bytes image = MakeBzImage({}, MakeElf({}));
  testing::EditSetupHeader(image, [](auto& h) { h.initrd_addr_max = 48 * kMiB - 1; });
  const Bytes initrd(4096);
  BootParams params = Params(*memory);
  params.initrd = initrd;
  auto entry = LoadLinux(Image(image), *memory, params);
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->initrd, GuestAddress(48 * kMiB - 4096));
}

TEST_F(LinuxLoaderTest, KernelAndInitramfsMaySpanTheRegionsOfSeveralNodes) {
  auto memory = Memory({17, 17, 17});
  const Bytes elf = MakeElf({.padding = 4 * kMiB});  // from 16 MiB over the border at 17 MiB
  const Bytes initrd(20 * kMiB, 'i');
  BootParams params = Params(*memory);
  params.initrd = initrd;
  const KernelImage kernel = Image(elf);
  auto entry = LoadLinux(kernel, *memory, params);
  ASSERT_TRUE(entry.ok()) << entry.status();
  const auto& bytes = kernel.segments()[0].bytes;
  EXPECT_EQ(memory->Load<uint8_t>(GuestAddress(16 * kMiB + bytes.size() - 20)),
            bytes[bytes.size() - 20]);
  EXPECT_EQ(entry->initrd, GuestAddress(31 * kMiB));
  EXPECT_EQ(memory->Load<uint8_t>(GuestAddress(33 * kMiB)), 'i');
  EXPECT_EQ(memory->Load<uint8_t>(GuestAddress(51 * kMiB - 1)), 'i');
}

TEST_F(LinuxLoaderTest, AnInitramfsLargerThanTheMemoryNamesTheSizes) {
  auto memory = Memory({32});
  const Bytes initrd(40 * kMiB);
  BootParams params = Params(*memory);
  params.initrd = initrd;
  auto entry = LoadLinux(Image(MakeElf({})), *memory, params);
  EXPECT_EQ(entry.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Error(entry), HasSubstr("initramfs of 40 MiB does not fit"));
  EXPECT_THAT(Error(entry), HasSubstr("32 MiB"));
}

TEST_F(LinuxLoaderTest, AnInitramfsNeverOverlapsTheKernel) {
  auto memory = Memory({18});  // the kernel takes the 17th MiB, 1 MiB and some is left behind it
  const Bytes initrd(2 * kMiB);
  BootParams params = Params(*memory);
  params.initrd = initrd;
  EXPECT_FALSE(LoadLinux(Image(MakeElf({})), *memory, params).ok());
}

TEST_F(LinuxLoaderTest, AKernelLargerThanTheMemorySaysHowMuchItNeeds) {
  auto memory = Memory({16});
  auto entry = LoadLinux(Image(MakeElf({.padding = 3 * kMiB})), *memory, Params(*memory));
  EXPECT_EQ(entry.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Error(entry), HasSubstr("the guest has 16 MiB; give it more than 20 MiB"));
}

TEST_F(LinuxLoaderTest, AKernelThatWantsToLieBelowOneMegabyteIsRefused) {
  auto memory = Memory({32});
  auto entry = LoadLinux(Image(MakeElf({.address = 0x2000})), *memory, Params(*memory));
  EXPECT_THAT(Error(entry), HasSubstr("below 1 MiB"));
}

TEST_F(LinuxLoaderTest, ACommandLineOfTheLongestLengthFitsAndOneMoreDoesNot) {
  auto memory = Memory({64});
  const KernelImage kernel = Image(MakeElf({}));
  BootParams params = Params(*memory);
  params.cmdline = std::string(2047, 'x');
  EXPECT_TRUE(LoadLinux(kernel, *memory, params).ok());
  params.cmdline += 'x';
  auto entry = LoadLinux(kernel, *memory, params);
  EXPECT_EQ(entry.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Error(entry), HasSubstr("command line too long: 2048 characters"));
  EXPECT_THAT(Error(entry), HasSubstr("takes 2047"));
}

TEST_F(LinuxLoaderTest, ACommandLineWithAZeroByteIsRefused) {
  auto memory = Memory({64});
  BootParams params = Params(*memory);
  params.cmdline = std::string("a\0b", 3);
  EXPECT_THAT(Error(LoadLinux(Image(MakeElf({})), *memory, params)), HasSubstr("zero byte"));
}

TEST_F(LinuxLoaderTest, TheDeviceTreeIsLinkedAsSetupDataInLowMemory) {
  auto memory = Memory({64});
  const Bytes tree(3000, 'd');
  BootParams params = Params(*memory);
  params.device_tree = tree;
  auto entry = LoadLinux(Image(MakeElf({})), *memory, params);
  ASSERT_TRUE(entry.ok()) << entry.status();
  const GuestAddress at(memory->Load<boot_params>(entry->rsi)->hdr.setup_data);
  EXPECT_LT(at, GuestAddress(0x90000));       // neither kernel nor decompressor writes there
  EXPECT_EQ(memory->Load<uint64_t>(at), 0u);  // next
  EXPECT_EQ(memory->Load<uint32_t>(at + 8), uint32_t{SETUP_DTB});
  EXPECT_EQ(memory->Load<uint32_t>(at + 12), 3000u);
  EXPECT_EQ(memory->Slice(at + 16, 3000), absl::MakeConstSpan(tree));
}

TEST_F(LinuxLoaderTest, ADeviceTreeLargerThanTheKernelMapsIsRefused) {
  auto memory = Memory({64});
  const Bytes tree(256 << 10);
  BootParams params = Params(*memory);
  params.device_tree = tree;
  EXPECT_THAT(Error(LoadLinux(Image(MakeElf({})), *memory, params)),
              HasSubstr("device tree of 262144 bytes"));
}

TEST_F(LinuxLoaderTest, TooManyOrNoMemoryMapEntriesAreRefused) {
  auto memory = Memory({64});
  const KernelImage kernel = Image(MakeElf({}));
  BootParams params = Params(*memory);
  params.e820.assign(129, {});
  EXPECT_THAT(Error(LoadLinux(kernel, *memory, params)), HasSubstr("129 entries"));
  params.e820.clear();
  EXPECT_THAT(Error(LoadLinux(kernel, *memory, params)), HasSubstr("0 entries"));
}

TEST(LowMemoryTest, NothingInTheLayoutOverlaps) {
  EXPECT_LT(kGdtAddress + 48, kBootParamsAddress);
  EXPECT_LE(kBootParamsAddress + sizeof(boot_params), kPageTablesAddress);
  EXPECT_LE(kPageTablesAddress + 6 * 4096, kCmdlineAddress);
  EXPECT_LE(kCmdlineAddress + kCmdlineRoom, kSetupDataAddress);
  EXPECT_LT(kSetupDataEnd, kBaseMemoryEnd);
}

TEST(LowMemoryTest, MemoryThatDoesNotStartAtZeroIsRefused) {
  auto memory = GuestMemory::Create({{GuestAddress(kMiB), 64 * kMiB, 0, nullptr}});
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(WriteLongModeTables(**memory).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace stasis
