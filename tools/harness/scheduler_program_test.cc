#include "tools/harness/scheduler_program.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class SchedulerProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/programXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = fs::canonical(pattern);
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string Write(const std::string& name, const std::string& bytes, mode_t mode = 0755) {
    const std::string path = dir_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    chmod(path.c_str(), mode);
    return path;
  }
  static std::string Elf(uint16_t machine, unsigned char elf_class = ELFCLASS64,
                         uint16_t type = ET_EXEC) {
    Elf64_Ehdr header = {};
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = elf_class;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = type;
    header.e_machine = machine;
    return std::string(reinterpret_cast<const char*>(&header), sizeof(header));
  }

  void ExpectFinding(const std::string& path, Verdict verdict, const std::string& text) {
    const std::optional<Finding> finding = CheckSchedulerProgram(path);
    ASSERT_TRUE(finding.has_value()) << path;
    EXPECT_EQ(finding->verdict, verdict) << FirstLine(*finding);
    EXPECT_THAT(FirstLine(*finding), HasSubstr(text));
    EXPECT_NE(finding->to_do, "");
  }

  std::string dir_;
};

TEST_F(SchedulerProgramTest, ProgramsAndScriptsAreFine) {
  EXPECT_FALSE(CheckSchedulerProgram("/bin/sh").has_value());
  EXPECT_FALSE(CheckSchedulerProgram(Write("script", "#!/bin/sh\n")).has_value());
}

TEST_F(SchedulerProgramTest, MissingFileIsUsage) {
  ExpectFinding(dir_ + "/none", Verdict::kUsage, "No such file or directory");
}

TEST_F(SchedulerProgramTest, DirectoryIsUsage) {
  ExpectFinding(dir_, Verdict::kUsage, "a directory");
}

TEST_F(SchedulerProgramTest, FileThatIsNotExecutableIsUsage) {
  ExpectFinding(Write("s", "#!/bin/sh\n", 0644), Verdict::kUsage, "not executable; chmod +x");
}

TEST_F(SchedulerProgramTest, TextIsNoProgram) {
  ExpectFinding(Write("s", "hello"), Verdict::kUsage, "neither a program nor a script");
}

TEST_F(SchedulerProgramTest, OtherArchitectureIsUsageAndNamed) {
  const uint16_t other = fs::exists("/lib64/ld-linux-x86-64.so.2") ? EM_AARCH64 : EM_X86_64;
  ExpectFinding(Write("s", Elf(other)), Verdict::kUsage,
                other == EM_AARCH64 ? "built for aarch64, the guest is x86_64"
                                    : "built for x86_64, the guest is aarch64");
  ExpectFinding(Write("s32", Elf(EM_386, ELFCLASS32)), Verdict::kUsage, "built for 32-bit x86");
}

TEST_F(SchedulerProgramTest, BpfObjectIsNotItsLoader) {
  ExpectFinding(Write("s.bpf.o", Elf(EM_BPF, ELFCLASS64, ET_REL)), Verdict::kUsage, "a BPF object");
}

TEST_F(SchedulerProgramTest, PlaceThatTheGuestHidesIsUsage) {
  const std::string path = "/dev/shm/stasis-scheduler-program-test";
  std::ofstream(path) << "#!/bin/sh\n";
  if (!fs::exists(path)) GTEST_SKIP() << "no /dev/shm";
  chmod(path.c_str(), 0755);
  ExpectFinding(path, Verdict::kUsage, "the guest has its own /dev/");
  fs::remove(path);
}

TEST_F(SchedulerProgramTest, MissingLibraryIsAnErrorThatNamesIt) {
  // A program whose library was there when it was linked.
  Write("gone.c", "int gone(void) { return 0; }\n");
  Write("main.c", "int gone(void); int main(void) { return gone(); }\n");
  const std::string build = "cd " + dir_ +
                            " && gcc -shared -fPIC gone.c -o libgone.so && gcc main.c -o prog -L. "
                            "-lgone && rm libgone.so";
  ASSERT_EQ(system(build.c_str()), 0);

  ExpectFinding(dir_ + "/prog", Verdict::kError, "needs the shared library libgone.so");
}

TEST_F(SchedulerProgramTest, NameIsFoundForTheKernel) {
  const std::string path = Write("schedulers/6.12-x/scx_a", "#!/bin/sh\n");

  const SchedulerProgram program = FindSchedulerProgram({.name = "scx_a"}, dir_, "6.12-x");

  EXPECT_FALSE(program.finding.has_value());
  EXPECT_EQ(program.path, path);
}

TEST_F(SchedulerProgramTest, NameThatIsNotBuiltSaysHowToBuildIt) {
  Write("schedulers/6.12-x/scx_simple", "#!/bin/sh\n");

  const SchedulerProgram program = FindSchedulerProgram({.name = "scx_simpel"}, dir_, "6.12-x");

  ASSERT_TRUE(program.finding.has_value());
  EXPECT_EQ(program.finding->verdict, Verdict::kError);
  EXPECT_EQ(program.finding->layer, Layer::kSchedulerLoad);
  EXPECT_THAT(program.finding->what, HasSubstr("did you mean 'scx_simple'"));
  EXPECT_THAT(program.finding->to_do, HasSubstr("tools/schedulers/build --kernel 6.12-x"));
}

}  // namespace
}  // namespace stasis
