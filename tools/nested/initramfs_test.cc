#include "tools/nested/initramfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>

namespace stasis::nested {
namespace {

std::map<std::string, std::string> Unpack(int fd) {
  std::map<std::string, std::string> files;
  lseek(fd, 0, SEEK_SET);
  archive* reader = archive_read_new();
  archive_read_support_format_cpio(reader);
  EXPECT_EQ(archive_read_open_fd(reader, fd, 4096), ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    std::string bytes(static_cast<size_t>(archive_entry_size(entry)), '\0');
    EXPECT_EQ(archive_read_data(reader, bytes.data(), bytes.size()),
              static_cast<la_ssize_t>(bytes.size()));
    files[archive_entry_pathname(entry)] = bytes;
  }
  archive_read_free(reader);
  return files;
}

TEST(InitramfsTest, CarriesInitOrderConsoleAndModulesInLoadOrder) {
  const std::string directory = testing::TempDir();
  std::ofstream(directory + "/b.ko") << "module b";
  std::ofstream(directory + "/kvm-amd.ko") << "module kvm";
  Order order;
  order.argv = {"/bin/true"};

  const auto fd =
      BuildInitramfs(order, {directory + "/b.ko", directory + "/kvm-amd.ko"}, "npt=1 avic=0");

  ASSERT_TRUE(fd.ok()) << fd.status();
  const auto files = Unpack(*fd);
  close(*fd);
  EXPECT_EQ(files.at("init"), EmbeddedInit());
  EXPECT_EQ(files.at("init").substr(1, 3), "ELF");
  EXPECT_EQ(files.count("dev/console"), 1u);
  EXPECT_EQ(files.at("modules/b.ko"), "module b");
  const auto read = DecodeOrder(files.at("order"));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->argv, order.argv);
  EXPECT_EQ(read->modules, (std::vector<std::string>{"b.ko", "kvm-amd.ko npt=1 avic=0"}));
}

TEST(InitramfsTest, CompressedModuleIsUnpacked) {
  const std::string path = testing::TempDir() + "/c.ko.gz";
  archive* writer = archive_write_new();
  archive_write_add_filter_gzip(writer);
  archive_write_set_format_raw(writer);
  archive_write_open_filename(writer, path.c_str());
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_header(writer, entry);
  archive_write_data(writer, "module c", 8);
  archive_entry_free(entry);
  archive_write_free(writer);

  const auto fd = BuildInitramfs({}, {path}, "");

  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_EQ(Unpack(*fd).at("modules/c.ko"), "module c");
  close(*fd);
}

TEST(InitramfsTest, MissingModuleIsAnErrorThatNamesIt) {
  const auto fd = BuildInitramfs({}, {"/nowhere/x.ko"}, "");

  ASSERT_FALSE(fd.ok());
  EXPECT_NE(fd.status().ToString().find("/nowhere/x.ko"), std::string::npos) << fd.status();
}

}  // namespace
}  // namespace stasis::nested
