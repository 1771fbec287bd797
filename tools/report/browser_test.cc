// The report page in a real browser, light and dark: laid out without overflow, legible, drawn.
// Skipped without Debian's package chromium, which is too large to ask everybody for.
#include <stdio.h>
#include <stdlib.h>

#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/report/html_report.h"

namespace stasis {
namespace {

using nlohmann::json;
using ::testing::IsEmpty;

// Runs in the page, which has no script of its own, and leaves what it measured as JSON at its end.
// Contrast is that of WCAG 2.1, 1.4.3.
constexpr char kMeasure[] = R"(<script>
function channels(color) {
  const found = color.match(/rgba?\(([^)]*)\)/);
  return found ? found[1].split(',').map(Number) : null;
}
function luminance(c) {
  const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a, b) {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}
function backOf(element) {
  for (let e = element; e; e = e.parentElement) {
    const c = channels(getComputedStyle(e).backgroundColor);
    if (c && (c.length < 4 || c[3] > 0.5)) return c.slice(0, 3);
  }
  return [255, 255, 255];
}
const faint = [], shapes = [];
let texts = 0;
for (const e of document.querySelectorAll('body *')) {
  if (e.closest('script') || e.closest('style') || e.closest('title')) continue;
  const own = [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim());
  const style = getComputedStyle(e);
  if (own && e.getClientRects().length) {
    ++texts;
    const ink = channels(e instanceof SVGElement ? style.fill : style.color);
    const ratio = ink ? contrast(ink.slice(0, 3), backOf(e)) : 21;
    if (ratio < 4.5) faint.push(e.tagName + ' ' + e.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
  }
  if (e.tagName == 'svg') {
    const box = e.getBoundingClientRect();
    shapes.push({width: box.width, height: box.height, parts: e.querySelectorAll('rect,path,line,polyline,circle').length});
  }
}
const out = document.createElement('pre');
out.id = 'measured';
out.textContent = JSON.stringify({back: channels(getComputedStyle(document.body).backgroundColor),
    dark: matchMedia('(prefers-color-scheme: dark)').matches, texts, faint, shapes,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth});
document.body.appendChild(out);
</script>)";

json Result() {
  std::ifstream file("tools/report/testdata/result.json");
  return json::parse(file, nullptr, /*allow_exceptions=*/false);
}

class BrowserTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (system("command -v chromium > /dev/null") != 0) GTEST_SKIP() << "no chromium";
  }
  // What a browser with a window of this width prints.
  std::string Browse(const std::string& page, int width, const std::string& what) {
    const std::string line =
        "timeout 120 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars "
        "--disable-dev-shm-usage --no-first-run --user-data-dir=" +
        testing::TempDir() + "/profile --window-size=" + std::to_string(width) + ",1600 " +
        (GetParam() ? "--blink-settings=preferredColorScheme=0 " : "") + what + " file://" + page +
        " 2> /dev/null";
    std::string text;
    FILE* pipe = popen(line.c_str(), "r");
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, n);
    EXPECT_EQ(pclose(pipe), 0) << line;
    return text;
  }
};

TEST_P(BrowserTest, PageIsLegibleDrawnAndNoWiderThanTheWindow) {
  const json result = Result();
  ASSERT_TRUE(result.is_object());
  const absl::StatusOr<std::string> page = HtmlReport(result);
  ASSERT_TRUE(page.ok()) << page.status();
  const std::string plain = testing::TempDir() + "/page.html";
  const std::string measured = testing::TempDir() + "/measured.html";
  std::ofstream(plain) << *page;
  std::ofstream(measured) << *page << kMeasure;

  for (const int width : {1280, 600}) {
    SCOPED_TRACE(width);
    const std::string dom = Browse(measured, width, "--dump-dom");
    const size_t from = dom.find("<pre id=\"measured\">");
    ASSERT_NE(from, std::string::npos) << dom.substr(0, 2000);
    const size_t begin = dom.find('{', from);
    const json found = json::parse(dom.substr(begin, dom.find("</pre>", begin) - begin), nullptr,
                                   /*allow_exceptions=*/false);
    ASSERT_TRUE(found.is_object()) << dom.substr(from, 500);
    EXPECT_EQ(found["dark"], GetParam());
    // Light on dark or dark on light.
    EXPECT_EQ(found["back"][0].get<int>() < 128, GetParam()) << found["back"];
    EXPECT_GT(found["texts"], 40);
    EXPECT_THAT(found["faint"], IsEmpty());
    EXPECT_LE(found["overflow"], 1);  // both widths are rounded to whole pixels
    EXPECT_GE(found["shapes"].size(), 4u);
    for (const json& shape : found["shapes"]) {
      EXPECT_GT(shape["width"], 100) << shape;
      EXPECT_GT(shape["height"], 10) << shape;
      EXPECT_GT(shape["parts"], 0) << shape;
    }
  }
  // To look at: bazel-testlogs/tools/report/browser_test/test.outputs
  if (const char* outputs = getenv("TEST_UNDECLARED_OUTPUTS_DIR"); outputs != nullptr) {
    const std::string picture =
        std::string(outputs) + (GetParam() ? "/dark.png" : "/light.png");
    Browse(plain, 1280, "--screenshot=" + picture);
    std::ifstream file(picture, std::ios::binary | std::ios::ate);
    EXPECT_GT(static_cast<int>(file.tellg()), 10000) << picture;
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, BrowserTest, ::testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "Dark" : "Light");
});

}  // namespace
}  // namespace stasis
