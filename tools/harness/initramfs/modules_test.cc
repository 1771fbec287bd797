#include "tools/harness/initramfs/modules.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace stasis {
namespace {

using Paths = std::vector<std::string>;

ModuleIndex Example() {
  return ModuleIndex::FromText(
      "kernel/virtio.ko:\n"
      "kernel/virtio_ring.ko.xz: kernel/virtio.ko\n"
      "kernel/virtio_mmio.ko.xz: kernel/virtio_ring.ko.xz kernel/virtio.ko\n"
      "kernel/pvpanic/pvpanic-mmio.ko: kernel/pvpanic/pvpanic.ko\n"
      "kernel/pvpanic/pvpanic.ko:\n",
      "kernel/drivers/char/virtio_console.ko\n");
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string Compressed(const std::string& bytes, int (*add_filter)(archive*)) {
  std::string out(bytes.size() + 65536, '\0');
  size_t used = 0;
  archive* writer = archive_write_new();
  archive_write_set_format_raw(writer);
  add_filter(writer);
  archive_write_open_memory(writer, out.data(), out.size(), &used);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_header(writer, entry);
  archive_write_data(writer, bytes.data(), bytes.size());
  archive_entry_free(entry);
  archive_write_close(writer);
  archive_write_free(writer);
  out.resize(used);
  return out;
}

TEST(ModuleIndexTest, DependenciesComeFirstAndOnce) {
  auto paths = Example().Resolve({"virtio_mmio", "virtio_ring"}, {});

  ASSERT_TRUE(paths.ok()) << paths.status();
  EXPECT_EQ(*paths,
            (Paths{"kernel/virtio.ko", "kernel/virtio_ring.ko.xz", "kernel/virtio_mmio.ko.xz"}));
}

TEST(ModuleIndexTest, DashesAndUnderscoresAreTheSame) {
  EXPECT_EQ(*Example().Resolve({"pvpanic_mmio"}, {}), *Example().Resolve({"pvpanic-mmio"}, {}));
}

TEST(ModuleIndexTest, BuiltInAndUnknownOnesNeedNoFile) {
  auto paths = Example().Resolve({"virtio_console", "no_such"}, {"virtio-console"});

  ASSERT_TRUE(paths.ok()) << paths.status();
  EXPECT_TRUE(paths->empty());
}

TEST(ModuleIndexTest, MissingRequiredModuleIsNamed) {
  auto paths = Example().Resolve({}, {"virtio_mmio", "no_such"});

  EXPECT_EQ(paths.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(paths.status().message(), "no_such")) << paths.status();
}

TEST(ModuleIndexTest, CyclesAndDanglingDependenciesAreRefused) {
  EXPECT_FALSE(ModuleIndex::FromText("a.ko: b.ko\nb.ko: a.ko\n", "").Resolve({"a"}, {}).ok());
  EXPECT_FALSE(ModuleIndex::FromText("a.ko: gone.ko\n", "").Resolve({"a"}, {}).ok());
}

TEST(ModuleIndexTest, MissingModulesDepSaysWhatToDo) {
  auto index = ModuleIndex::Load("/nowhere");

  EXPECT_TRUE(absl::StrContains(index.status().message(), "depmod")) << index.status();
}

TEST(ReadModuleTest, CompressedModulesAreUnpacked) {
  const std::string elf =
      "\x7f"
      "ELF" +
      std::string(100000, 'm');
  const std::string dir = testing::TempDir();
  WriteFile(dir + "/m.ko", elf);
  WriteFile(dir + "/m.ko.xz", Compressed(elf, archive_write_add_filter_xz));
  WriteFile(dir + "/m.ko.zst", Compressed(elf, archive_write_add_filter_zstd));
  WriteFile(dir + "/m.ko.gz", Compressed(elf, archive_write_add_filter_gzip));

  for (const char* name : {"/m.ko", "/m.ko.xz", "/m.ko.zst", "/m.ko.gz"}) {
    auto bytes = ReadModule(dir + name);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, elf) << name;
  }
}

TEST(ReadModuleTest, DamagedAndForeignFilesAreRefusedByName) {
  const std::string dir = testing::TempDir();
  const std::string elf =
      "\x7f"
      "ELF" +
      std::string(100000, 'm');
  const std::string packed = Compressed(elf, archive_write_add_filter_xz);
  WriteFile(dir + "/cut.ko.xz", packed.substr(0, packed.size() / 2));
  WriteFile(dir + "/text.ko", "not a module");
  WriteFile(dir + "/empty.ko", "");

  for (const char* name : {"/cut.ko.xz", "/text.ko", "/empty.ko", "/none.ko"}) {
    auto bytes = ReadModule(dir + name);
    ASSERT_FALSE(bytes.ok()) << name;
    EXPECT_TRUE(absl::StrContains(bytes.status().message(), name)) << bytes.status();
  }
}

}  // namespace
}  // namespace stasis
