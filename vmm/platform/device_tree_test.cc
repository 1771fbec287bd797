#include "vmm/platform/device_tree.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace stasis {
namespace {

DeviceTree Sample() {
  DeviceTreeWriter writer;
  EXPECT_TRUE(writer.BeginNode("").ok());
  writer.Cell("#address-cells", 2).IgnoreError();
  writer.Cell("#size-cells", 2).IgnoreError();
  writer.BeginNode("device@100000000").IgnoreError();
  writer.Strings("compatible", {"vendor,exact", "generic"}).IgnoreError();
  writer.Cells("reg", {1, 0, 0, 0x1000}).IgnoreError();
  writer.Cell("phandle", 7).IgnoreError();
  writer.Number("wide", 0x123456789abcdef0).IgnoreError();
  writer.Bytes("odd", {1, 2, 3}).IgnoreError();
  writer.Flag("flag").IgnoreError();
  writer.EndNode().IgnoreError();
  writer.EndNode().IgnoreError();
  absl::StatusOr<DeviceTree> tree = writer.Finish();
  EXPECT_TRUE(tree.ok()) << tree.status();
  if (!tree.ok()) std::abort();
  return *std::move(tree);
}

TEST(DeviceTreeTest, WhatIsWrittenIsReadBack) {
  const DeviceTree tree = Sample();
  const auto node = tree.Find("/device@100000000");
  ASSERT_TRUE(node);
  EXPECT_EQ(tree.Name(*node), "device@100000000");
  EXPECT_EQ(tree.Path(*node), "/device@100000000");
  EXPECT_TRUE(tree.IsCompatible(*node, "generic"));
  EXPECT_EQ(tree.Number(*node, "wide"), 0x123456789abcdef0u);
  EXPECT_TRUE(tree.Has(*node, "flag"));
  EXPECT_EQ(tree.FindPhandle(7), node);
  EXPECT_EQ(tree.FindCompatible("vendor,exact"), std::vector<DeviceTree::Node>{*node});
  const auto reg = tree.Reg(*node);
  ASSERT_TRUE(reg.ok());
  EXPECT_EQ(reg->front().base, uint64_t{1} << 32);
  EXPECT_EQ(reg->front().size, 0x1000u);
}

TEST(DeviceTreeTest, PropertiesOfAnotherShapeAreAbsent) {
  const DeviceTree tree = Sample();
  const DeviceTree::Node node = *tree.Find("/device@100000000");
  EXPECT_FALSE(tree.Cell(node, "wide"));
  EXPECT_FALSE(tree.Cells(node, "odd"));
  EXPECT_FALSE(tree.String(node, "odd"));         // not terminated
  EXPECT_FALSE(tree.String(node, "compatible"));  // two strings
  EXPECT_FALSE(tree.Number(node, "missing"));
  EXPECT_FALSE(tree.Reg(tree.root()).ok());
}

TEST(DeviceTreeTest, FindWantsTheWholeName) {
  const DeviceTree tree = Sample();
  EXPECT_FALSE(tree.Find("/device"));
  EXPECT_FALSE(tree.Find("/nothing"));
}

TEST(DeviceTreeTest, DamagedBlobsAreRefused) {
  const std::string blob = Sample().blob();
  EXPECT_FALSE(DeviceTree::FromBlob("").ok());
  EXPECT_FALSE(DeviceTree::FromBlob(std::string(64, 'x')).ok());
  for (size_t length = 0; length < blob.size(); length += 4) {
    EXPECT_FALSE(DeviceTree::FromBlob(blob.substr(0, length)).ok()) << length;
  }
}

TEST(DeviceTreeTest, LargeTreesGrowTheBuffer) {
  DeviceTreeWriter writer;
  writer.BeginNode("").IgnoreError();
  writer.String("text", std::string(100000, 'a')).IgnoreError();
  writer.EndNode().IgnoreError();
  const auto tree = writer.Finish();
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->String(tree->root(), "text")->size(), 100000u);
}

TEST(DeviceTreeWriterTest, AnOpenNodeIsAnErrorAndErrorsStick) {
  DeviceTreeWriter open;
  open.BeginNode("").IgnoreError();
  EXPECT_EQ(open.Finish().status().code(), absl::StatusCode::kFailedPrecondition);
  DeviceTreeWriter outside;
  EXPECT_FALSE(outside.EndNode().ok());
  EXPECT_FALSE(outside.BeginNode("").ok());
  EXPECT_FALSE(outside.Finish().ok());
}

}  // namespace
}  // namespace stasis
