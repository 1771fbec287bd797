#include "vmm/dump/vmcoreinfo.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <string>

namespace stasis::dump {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr char kText[] =
    "OSRELEASE=6.1.0-56-cloud-amd64\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffffa3000000\n"
    "NUMBER(phys_base)=-9437184\nKERNELOFFSET=22000000\n";

std::unique_ptr<GuestMemory> Memory() {
  MemoryRegion region;
  region.base = GuestAddress(kMiB);
  region.size = 16 * kMiB;
  return GuestMemory::Create({region}).value();
}

void PutNote(const GuestMemory& memory, uint64_t address, const std::string& text,
             uint32_t claimed_bytes) {
  const Elf64_Nhdr header = {.n_namesz = 11, .n_descsz = claimed_bytes, .n_type = 0};
  ASSERT_TRUE(memory.Write(GuestAddress(address), &header, sizeof(header)));
  ASSERT_TRUE(memory.Write(GuestAddress(address + 12), "VMCOREINFO\0\0", 12));
  ASSERT_TRUE(memory.Write(GuestAddress(address + 24), text.data(), text.size()));
}
void PutNote(const GuestMemory& memory, uint64_t address, const std::string& text) {
  PutNote(memory, address, text, text.size());
}

TEST(VmcoreInfoTest, D3_TheAgentsWordIsTakenWhenANoteIsThere) {
  auto memory = Memory();
  PutNote(*memory, 2 * kMiB, kText);
  PutNote(*memory, 3 * kMiB, kText);

  auto info = FindVmcoreInfo(*memory, VmcoreInfoHint{3 * kMiB, 4096});

  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->text, kText);
  EXPECT_EQ(info->source, "agent");
  EXPECT_EQ(info->address.value(), 3 * kMiB);
}

TEST(VmcoreInfoTest, D3_AWrongWordIsMadeUpForByScanning) {
  auto memory = Memory();
  PutNote(*memory, 5 * kMiB, kText);

  for (uint64_t wrong : {uint64_t{2} * kMiB, uint64_t{0}, ~uint64_t{0} - 8}) {
    auto info = FindVmcoreInfo(*memory, VmcoreInfoHint{wrong, 4096});

    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->source, "scan");
    EXPECT_EQ(info->address.value(), 5 * kMiB);
  }
}

TEST(VmcoreInfoTest, D3_WithoutANoteItSaysSo) {
  EXPECT_TRUE(absl::IsNotFound(FindVmcoreInfo(*Memory(), std::nullopt).status()));
}

TEST(VmcoreInfoTest, D3_WhatOnlyLooksLikeANoteIsPassedOver) {
  auto memory = Memory();
  PutNote(*memory, 2 * kMiB, "no release here");
  PutNote(*memory, 3 * kMiB, kText, 0xffffffff);         // longer than any
  PutNote(*memory, 4 * kMiB + 16, kText);                // not at the beginning of a page
  PutNote(*memory, 17 * kMiB - 4096, kText, 32 * 1024);  // beyond the end of RAM
  EXPECT_FALSE(FindVmcoreInfo(*memory, std::nullopt).ok());

  PutNote(*memory, 6 * kMiB, kText);

  EXPECT_EQ(FindVmcoreInfo(*memory, std::nullopt).value().address.value(), 6 * kMiB);
}

TEST(VmcoreInfoTest, ReadsValuesByKey) {
  EXPECT_EQ(VmcoreInfoValue(kText, "OSRELEASE"), "6.1.0-56-cloud-amd64");
  EXPECT_EQ(VmcoreInfoNumber(kText, "phys_base"), -9437184);
  EXPECT_EQ(VmcoreInfoSymbol(kText, "_stext"), 0xffffffffa3000000u);
  EXPECT_FALSE(VmcoreInfoSymbol(kText, "_etext").has_value());
  EXPECT_FALSE(VmcoreInfoNumber("NUMBER(phys_base)=zero\n", "phys_base").has_value());
}

}  // namespace
}  // namespace stasis::dump
