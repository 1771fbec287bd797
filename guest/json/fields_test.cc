#include "guest/json/fields.h"

#include "gtest/gtest.h"

namespace stasis::fields {
namespace {

enum class Color { kRed, kBlue };
absl::Span<const EnumName<Color>> EnumNames(Color) {
  static constexpr EnumName<Color> kNames[] = {{Color::kRed, "red"}, {Color::kBlue, "blue"}};
  return kNames;
}

struct Inner {
  uint8_t small = 0;
  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("small", self.small);
  }
};

struct Outer {
  uint64_t address = 0;
  Color color = Color::kRed;
  absl::Duration time;
  Bytes bytes;
  std::optional<std::string> maybe;
  std::vector<Inner> inner;
  std::map<std::string, uint64_t> table;
  int later = 7;
  template <typename V, typename Self>
  static void VisitFields(V& v, Self& self) {
    v("address", self.address);
    v("color", self.color);
    v("time", self.time);
    v("bytes", self.bytes);
    v("maybe", self.maybe);
    v("inner", self.inner);
    v("table", self.table);
    v.Optional("later", self.later);
  }
};

Outer Example() {
  Outer outer;
  outer.address = 0xffffffff81000000u;
  outer.color = Color::kBlue;
  outer.time = absl::Milliseconds(5);
  outer.bytes.data = std::string("\0\xff\n", 3);
  outer.inner = {{1}, {255}};
  outer.table["x"] = UINT64_MAX;
  return outer;
}

TEST(FieldsTest, EveryTypeComesBackAsItWas) {
  Outer back;

  absl::Status status = FromJson(ToJson(Example()), &back);

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(back.address, 0xffffffff81000000u);
  EXPECT_EQ(back.color, Color::kBlue);
  EXPECT_EQ(back.time, absl::Milliseconds(5));
  EXPECT_EQ(back.bytes.data, std::string("\0\xff\n", 3));
  EXPECT_FALSE(back.maybe.has_value());
  ASSERT_EQ(back.inner.size(), 2u);
  EXPECT_EQ(back.inner[1].small, 255);
  EXPECT_EQ(back.table["x"], UINT64_MAX);
}

TEST(FieldsTest, MissingRequiredFieldIsNamed) {
  Json json = ToJson(Example());
  json.erase("color");
  Outer back;

  EXPECT_EQ(FromJson(json, &back).message(), "color: missing");
}

TEST(FieldsTest, MissingOptionalFieldKeepsItsDefault) {
  Json json = ToJson(Example());
  json.erase("later");
  Outer back;

  ASSERT_TRUE(FromJson(json, &back).ok());
  EXPECT_EQ(back.later, 7);
}

TEST(FieldsTest, NumberThatDoesNotFitIsRefusedWithItsPath) {
  Json json = ToJson(Example());
  json["inner"][1]["small"] = 256;
  Outer back;

  EXPECT_EQ(FromJson(json, &back).message(), "inner: [1]: small: integer out of range");
}

TEST(FieldsTest, WrongTypesAreRefusedForEveryField) {
  for (const char* key : {"address", "color", "time", "bytes", "inner", "table", "later"}) {
    Json json = ToJson(Example());
    json[key] = Json::array({Json::array()});
    Outer back;
    EXPECT_FALSE(FromJson(json, &back).ok()) << key;
  }
}

}  // namespace
}  // namespace stasis::fields
