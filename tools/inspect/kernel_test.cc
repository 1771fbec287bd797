// A kernel of a few functions: translation, kallsyms, ORC.
#include <fcntl.h>
#include <gelf.h>
#include <gtest/gtest.h>
#include <libelf.h>
#include <unistd.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "tools/inspect/cpu_stack.h"
#include "tools/inspect/dump_text.h"
#include "tools/inspect/kallsyms.h"
#include "tools/inspect/kernel_memory.h"
#include "tools/inspect/testing/core_builder.h"
#include "tools/inspect/unwind.h"

namespace stasis {
namespace {

constexpr uint64_t kTables = 0x1000;  // swapper_pg_dir and what follows
constexpr uint64_t kNumber = 0x8000, kBase = 0x8008, kOffsets = 0x8100, kNames = 0x9000,
                   kTokens = 0xa000, kTokenIndex = 0xb000;
constexpr uint64_t kOrcIps = 0xc000, kOrc = 0xc100;
constexpr uint64_t kText = 0x10000;
constexpr uint64_t kStack = 0x20000;

struct Symbol {
  std::string name;  // with its type in front
  uint64_t physical;
};

const std::vector<Symbol>& Symbols() {
  static const auto& symbols = *new std::vector<Symbol>{
      {"D__start_orc_unwind_ip", kOrcIps}, {"D__stop_orc_unwind_ip", kOrcIps + 12},
      {"D__start_orc_unwind", kOrc},       {"T_stext", kText},
      {"Touter", kText + 0x100},           {"tinner", kText + 0x200},
      {"T_etext", kText + 0x300},          {"D_end", kText + 0x1000}};
  return symbols;
}

class KernelTest : public testing::Test {
 protected:
  enum class Counting { kDownwards, kUpwards, kFromThePlace };

  // `release` decides how ORC types are packed; `counting` is that of kallsyms.
  void Make(const std::string& release, Counting counting = Counting::kDownwards) {
    core_.AddVmcoreInfo(
        absl::StrFormat("OSRELEASE=%s\nNUMBER(phys_base)=0\nSYMBOL(swapper_pg_dir)=%x\n"
                        "SYMBOL(kallsyms_num_syms)=%x\n%s"
                        "SYMBOL(kallsyms_offsets)=%x\nSYMBOL(kallsyms_names)=%x\n"
                        "SYMBOL(kallsyms_token_table)=%x\nSYMBOL(kallsyms_token_index)=%x\n",
                        release, V(kTables), V(kNumber),
                        counting == Counting::kFromThePlace
                            ? ""
                            : absl::StrFormat("SYMBOL(kallsyms_relative_base)=%x\n", V(kBase)),
                        V(kOffsets), V(kNames), V(kTokens), V(kTokenIndex)));
    core_.AddFacts(absl::StrFormat(
        R"({"trigger": {"kind": "guest-panic", "vcpu": 0, "phase": "running", "source": "pvpanic"},
            "verdict": {"verdict": "fail", "layer": "scheduler", "message": "it broke"},
            "vcpus": [{"index": 0, "mp_state": "runnable", "last_exit": "KVM_EXIT_IO",
                       "regs": {"rip": "%#x", "rsp": "%#x", "rbp": "0x0"},
                       "sregs": {"cs": {"selector": "0x10"}}}]})",
        V(kText + 0x210), V(kStack)));
    core_.Store<uint32_t>(kNumber, Symbols().size());
    core_.Store<uint64_t>(kBase, V(0));
    std::string names;
    for (size_t i = 0; i < Symbols().size(); ++i) {
      const auto physical = static_cast<int32_t>(Symbols()[i].physical);
      const auto place = static_cast<int32_t>(kOffsets + 4 * i);
      core_.Store<int32_t>(place, counting == Counting::kDownwards ? -1 - physical
                                  : counting == Counting::kUpwards ? physical
                                                                   : physical - place);
      names += static_cast<char>(Symbols()[i].name.size());
      names += Symbols()[i].name;
    }
    core_.StoreText(kNames, names);
    // Every token is the one character of its number.
    for (int i = 0; i < 256; ++i) {
      core_.Store<uint16_t>(kTokenIndex + 2 * i, 2 * i);
      core_.Store<char>(kTokens + 2 * i, static_cast<char>(i));
    }
    // outer() and inner() each push one word beside the return address; outer is the last.
    const bool from_6_4 = release != "6.1.0";
    const uint16_t stack_pointer = release[0] >= '7' ? 3 : 5;
    const uint16_t call = stack_pointer | (from_6_4 ? 2 << 8 : 0);
    const uint16_t end = from_6_4 ? 1 << 8 : 1 << 10;
    StoreOrc(0, kText, 0, end);
    StoreOrc(1, kText + 0x100, 16, call);
    StoreOrc(2, kText + 0x200, 16, call);
    core_.Store<uint64_t>(kStack + 8, V(kText + 0x150));  // into outer
    core_.Store<uint64_t>(kStack + 24, V(kText + 0x20));  // before it: the end
    dump_ = DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test", core_.Bytes()))
                .value();
  }
  void StoreOrc(int index, uint64_t code, int16_t sp_offset, uint16_t flags) {
    core_.Store<int32_t>(kOrcIps + 4 * index, static_cast<int32_t>(code - (kOrcIps + 4 * index)));
    core_.Store<int16_t>(kOrc + 6 * index, sp_offset);
    core_.Store<uint16_t>(kOrc + 6 * index + 4, flags);
  }
  static uint64_t V(uint64_t physical) { return CoreBuilder::Virtual(physical); }

  CoreBuilder core_{0x30000};
  std::unique_ptr<DumpFile> dump_;
};

TEST_F(KernelTest, PageTablesAreWalkedWithLargePagesAndHoles) {
  // 0xffff888000200000: four levels, the last but one a page of 2 MiB at physical 0.
  core_.Store<uint64_t>(kTables + 8 * 273, 0x2003);
  core_.Store<uint64_t>(0x2000, 0x3003);
  core_.Store<uint64_t>(0x3000 + 8 * 1, 0x83);
  core_.Store<uint64_t>(0x3000 + 8 * 2, 0x4003);
  core_.Store<uint64_t>(0x4000 + 8 * 5, 0x7003);
  core_.Store<uint64_t>(0x7008, 42);
  Make("6.1.0");

  const KernelMemory memory(dump_.get());

  EXPECT_EQ(memory.Translate(0xffff888000201234), 0x1234u);
  EXPECT_EQ(memory.Load<uint64_t>(0xffff888000405008), 42u);
  EXPECT_EQ(memory.Translate(0xffff888000406000), std::nullopt);
  EXPECT_EQ(memory.Translate(0xffff900000000000), std::nullopt);
  EXPECT_EQ(memory.Translate(V(0x8000)), 0x8000u);
}

TEST_F(KernelTest, SymbolsAreFoundByAddressAndName) {
  for (Counting counting : {Counting::kDownwards, Counting::kUpwards, Counting::kFromThePlace}) {
    core_ = CoreBuilder(0x30000);
    Make("6.12.0", counting);
    const KernelMemory memory(dump_.get());

    const auto symbols = Kallsyms::Load(memory);

    ASSERT_TRUE(symbols.ok()) << symbols.status();
    EXPECT_EQ(symbols->Describe(V(kText + 0x210)), "inner+0x10/0x100");
    EXPECT_EQ(symbols->Address("outer"), V(kText + 0x100));
    EXPECT_EQ(symbols->Describe(0x1234), "0x1234");
    EXPECT_TRUE(symbols->InText(V(kText + 0x2ff)));
    EXPECT_FALSE(symbols->InText(V(kText + 0x300)));
  }
}

TEST_F(KernelTest, TablesThatMakeNoSenseAreRefused) {
  Make("6.1.0");
  core_.Store<uint32_t>(kNumber, 0x7fffffff);
  const auto huge =
      DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test2", core_.Bytes()));
  ASSERT_TRUE(huge.ok());
  core_.Store<uint32_t>(kNumber, Symbols().size());
  core_.Store<char>(kNames, 0);
  const auto nameless =
      DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test3", core_.Bytes()));
  ASSERT_TRUE(nameless.ok());
  const KernelMemory huge_memory(huge->get());
  const KernelMemory nameless_memory(nameless->get());

  EXPECT_TRUE(absl::IsInvalidArgument(Kallsyms::Load(huge_memory).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Kallsyms::Load(nameless_memory).status()));
}

// A vmlinux with the symbols of Symbols(), and a build ID.
void WriteVmlinux(const std::string& path, const std::string& build_id, bool stripped = false) {
  const std::string strings = std::string("\0.shstrtab\0", 11);
  std::string names(1, '\0');
  std::vector<Elf64_Sym> symbols(1);
  for (const Symbol& symbol : Symbols()) {
    symbols.push_back({.st_name = static_cast<Elf64_Word>(names.size()),
                       .st_info = GELF_ST_INFO(STB_GLOBAL, STT_FUNC),
                       .st_shndx = 1,
                       .st_value = CoreBuilder::Virtual(symbol.physical)});
    names += symbol.name.substr(1) + '\0';
  }
  std::string note(sizeof(Elf64_Nhdr), 0);
  const Elf64_Nhdr header = {4, static_cast<Elf64_Word>(build_id.size()), NT_GNU_BUILD_ID};
  memcpy(note.data(), &header, sizeof(header));
  note += std::string("GNU\0", 4) + build_id;

  elf_version(EV_CURRENT);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  Elf* elf = elf_begin(fd, ELF_C_WRITE, nullptr);
  gelf_newehdr(elf, ELFCLASS64);
  GElf_Ehdr ehdr = {};
  ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
  ehdr.e_type = ET_EXEC;
  ehdr.e_machine = EM_X86_64;
  ehdr.e_version = EV_CURRENT;
  auto add = [elf](uint32_t type, const void* bytes, size_t size, Elf_Type form, uint32_t link,
                   uint64_t entry) {
    Elf_Scn* section = elf_newscn(elf);
    Elf_Data* data = elf_newdata(section);
    data->d_buf = const_cast<void*>(bytes);
    data->d_size = size;
    data->d_type = form;
    data->d_version = EV_CURRENT;
    data->d_align = form == ELF_T_SYM ? 8 : 4;  // that of a note says how it is padded
    GElf_Shdr shdr = {};
    shdr.sh_type = type;
    shdr.sh_link = link;
    shdr.sh_entsize = entry;
    gelf_update_shdr(section, &shdr);
    return elf_ndxscn(section);
  };
  add(SHT_NOTE, note.data(), note.size(), ELF_T_BYTE, 0, 0);
  const size_t strtab = add(SHT_STRTAB, names.data(), names.size(), ELF_T_BYTE, 0, 0);
  if (!stripped) {
    add(SHT_SYMTAB, symbols.data(), symbols.size() * sizeof(Elf64_Sym), ELF_T_SYM,
        static_cast<uint32_t>(strtab), sizeof(Elf64_Sym));
  }
  ehdr.e_shstrndx =
      static_cast<uint16_t>(add(SHT_STRTAB, strings.data(), strings.size(), ELF_T_BYTE, 0, 0));
  gelf_update_ehdr(elf, &ehdr);
  EXPECT_GT(elf_update(elf, ELF_C_WRITE), 0) << elf_errmsg(-1);
  elf_end(elf);
  close(fd);
}

// A kernel without kallsyms that was moved by 2 MiB.
std::unique_ptr<DumpFile> DumpOfAMovedKernel(const std::string& build_id) {
  CoreBuilder core(0x30000);
  core.AddVmcoreInfo(
      absl::StrFormat("OSRELEASE=6.12.0\nBUILD-ID=%s\nNUMBER(phys_base)=0\nKERNELOFFSET=200000\n",
                      absl::BytesToHexString(build_id)));
  return DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test8", core.Bytes()))
      .value();
}

TEST_F(KernelTest, StackOfACpuIsNamedInTheJson) {
  Make("6.12.0");
  const KernelMemory memory(dump_.get());
  const Kallsyms symbols = Kallsyms::Load(memory).value();
  const Unwinder unwinder(&memory, &symbols);
  nlohmann::json vcpu = dump_->facts()["vcpus"][0];

  const nlohmann::json kernel = StackJson(vcpu, unwinder, symbols);
  vcpu["sregs"]["cs"]["selector"] = "0x33";
  const nlohmann::json user = StackJson(vcpu, unwinder, symbols);
  vcpu["regs"] = {{"unavailable", "it did not park"}};
  const nlohmann::json without = StackJson(vcpu, unwinder, symbols);

  ASSERT_EQ(kernel["frames"].size(), 3u) << kernel;
  EXPECT_EQ(kernel["user_space"], false);
  EXPECT_EQ(kernel["frames"][0]["symbol"], "inner+0x10/0x100");
  EXPECT_EQ(kernel["frames"][1]["symbol"], "outer+0x50/0x100");
  EXPECT_EQ(kernel["frames"][1]["guessed"], false);
  EXPECT_EQ(user["user_space"], true);
  EXPECT_TRUE(user["frames"].empty());
  EXPECT_TRUE(without.contains("unavailable"));
  EXPECT_FALSE(without.contains("frames"));
}

TEST_F(KernelTest, SymbolsOfAVmlinuxAreMovedAsTheKernelIs) {
  const std::string path = testing::TempDir() + "/vmlinux";
  WriteVmlinux(path, "0123456789abcdef0123");
  const auto dump = DumpOfAMovedKernel("0123456789abcdef0123");
  const KernelMemory memory(dump.get());

  const auto symbols = Kallsyms::LoadVmlinux(path, memory);

  ASSERT_TRUE(symbols.ok()) << symbols.status();
  EXPECT_EQ(symbols->Describe(V(kText + 0x200210)), "inner+0x10/0x100");
  EXPECT_EQ(symbols->Address("outer"), V(kText + 0x200100));
  EXPECT_TRUE(symbols->InText(V(kText + 0x2002ff)));
}

TEST_F(KernelTest, WhatIsNotTheKernelsVmlinuxIsRefusedWithTheReason) {
  const std::string path = testing::TempDir() + "/vmlinux";
  const auto dump = DumpOfAMovedKernel("0123456789abcdef0123");
  const KernelMemory memory(dump.get());
  auto refusal = [&](const std::string& file) {
    return std::string(Kallsyms::LoadVmlinux(file, memory).status().message());
  };

  WriteVmlinux(path, "xxxxxxxxxxxxxxxxxxxx");
  EXPECT_TRUE(absl::StrContains(refusal(path), "another kernel's")) << refusal(path);
  WriteVmlinux(path, "0123456789abcdef0123", /*stripped=*/true);
  EXPECT_TRUE(absl::StrContains(refusal(path), "no symbol table")) << refusal(path);
  CoreBuilder::Write(path, "#!/bin/sh");
  EXPECT_TRUE(absl::StrContains(refusal(path), "no ELF file")) << refusal(path);
  EXPECT_TRUE(absl::StrContains(refusal(path + "-none"), "No such file"));
}

TEST_F(KernelTest, OrcTablesLeadOutwardsWhateverTheKernelsAge) {
  for (const char* release : {"6.1.0", "6.12.0", "7.2.0"}) {
    core_ = CoreBuilder(0x30000);
    Make(release);
    const KernelMemory memory(dump_.get());
    const auto symbols = Kallsyms::Load(memory);
    ASSERT_TRUE(symbols.ok()) << symbols.status();

    const std::vector<Frame> frames =
        Unwinder(&memory, &*symbols).Unwind({.ip = V(kText + 0x210), .sp = V(kStack)});

    ASSERT_EQ(frames.size(), 3u);
    EXPECT_EQ(frames[1].address, V(kText + 0x150));
    EXPECT_EQ(frames[2].address, V(kText + 0x20));
    EXPECT_FALSE(frames[2].guessed);
  }
}

TEST_F(KernelTest, FramesOnTheBasePointerAreFoundInEitherNumbering) {
  struct {
    const char* release;
    uint16_t previous_sp;
  } const cases[] = {{"6.12.0", 1}, {"7.2.0", 8}};
  for (const auto& [release, previous_sp] : cases) {
    core_ = CoreBuilder(0x30000);
    Make(release);
    // inner() has pushed the base pointer that outer() has its frame on. Most entries are of the
    // stack pointer, as in a kernel.
    const uint16_t stack_pointer = release[0] == '7' ? 3 : 5;
    StoreOrc(0, kText, 0, stack_pointer | 1 << 8);
    StoreOrc(1, kText + 0x100, 16, 4 | 2 << 8);
    StoreOrc(2, kText + 0x200, 16, stack_pointer | previous_sp << 4 | 2 << 8);
    core_.Store<int16_t>(kOrc + 6 * 2 + 2, -16);
    core_.Store<uint64_t>(kStack, V(kStack) + 16);
    dump_ = DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test7", core_.Bytes()))
                .value();
    const KernelMemory memory(dump_.get());
    const auto symbols = Kallsyms::Load(memory);
    ASSERT_TRUE(symbols.ok()) << symbols.status();

    const std::vector<Frame> frames =
        Unwinder(&memory, &*symbols).Unwind({.ip = V(kText + 0x210), .sp = V(kStack), .bp = 0});

    ASSERT_EQ(frames.size(), 3u) << release;
    EXPECT_EQ(frames[1].address, V(kText + 0x150));
    EXPECT_EQ(frames[2].address, V(kText + 0x20));
    EXPECT_FALSE(frames[2].guessed);
  }
}

TEST_F(KernelTest, TablesThatNumberRegistersInAnotherWayAreNotUsed) {
  Make("7.2.0");
  for (int i = 0; i < 3; ++i) core_.Store<uint16_t>(kOrc + 6 * i + 4, 6 | 2 << 8);
  dump_ = DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test6", core_.Bytes()))
              .value();
  const KernelMemory memory(dump_.get());
  const auto symbols = Kallsyms::Load(memory);
  ASSERT_TRUE(symbols.ok()) << symbols.status();

  EXPECT_FALSE(Unwinder(&memory, &*symbols).has_tables());
}

TEST_F(KernelTest, CodeWithoutTablesIsPassedOverWithAMark) {
  Make("6.12.0");
  const KernelMemory memory(dump_.get());
  auto symbols = Kallsyms::Load(memory);
  ASSERT_TRUE(symbols.ok()) << symbols.status();
  // A call stands before the return address into outer().
  core_.Store<uint8_t>(kText + 0x150 - 5, 0xe8);
  dump_ = DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test4", core_.Bytes()))
              .value();
  const KernelMemory with_call(dump_.get());

  const std::vector<Frame> frames =
      Unwinder(&with_call, &*symbols).Unwind({.ip = 0xffffffffc0001000, .sp = V(kStack)});

  ASSERT_GE(frames.size(), 2u);
  EXPECT_EQ(frames[1].address, V(kText + 0x150));
  EXPECT_TRUE(frames[1].guessed);
}

TEST_F(KernelTest, SummaryNamesTheFailureAndWhereTheCpuWas) {
  Make("6.12.0");

  const DumpText text(dump_.get());

  EXPECT_TRUE(absl::StartsWith(text.Summary(), "FAIL: scheduler: it broke\n")) << text.Summary();
  EXPECT_TRUE(absl::StrContains(text.Summary(), "inner+0x10/0x100\n"));
  EXPECT_TRUE(absl::StrContains(text.Summary(), "outer+0x50/0x100\n"));
  EXPECT_TRUE(absl::StrContains(text.Memory("outer", false, 16).value(), "00 00"));
  EXPECT_TRUE(absl::IsNotFound(text.Memory("nothing", false, 16).status()));
}

TEST_F(KernelTest, FactsOfOtherKindsThanExpectedAreShownAsUnknown) {
  core_.AddFacts(R"({"trigger": 7, "verdict": {"verdict": []}, "vcpus": {"a": 1},
                     "devices": [3, {"state": {"queues": "x", "status": "0x4f"}}],
                     "console": {"tail": 5, "alarms": 9}, "timeline": [1], "freeze": null})");
  const auto dump =
      DumpFile::Open(CoreBuilder::Write(testing::TempDir() + "/kernel_test5", core_.Bytes()));
  ASSERT_TRUE(dump.ok());
  const DumpText text(dump->get());

  EXPECT_TRUE(absl::StrContains(text.Summary(), "no symbols: "));
  EXPECT_TRUE(absl::StrContains(text.Devices(), "NEEDS_RESET"));
  EXPECT_EQ(text.Console(), "the dump has no console\n");
  EXPECT_FALSE(text.Cpus().empty() && text.Timeline().empty());
}

}  // namespace
}  // namespace stasis
