// mkinitramfs: prints the path of an initramfs with the guest agent, for use with any monitor.
#include <stdio.h>

#include <string>

#include "CLI/CLI.hpp"
#include "tools/harness/initramfs/initramfs.h"

namespace {

int Fail(const absl::Status& status) {
  fprintf(stderr, "mkinitramfs: %s\n", std::string(status.message()).c_str());
  return 3;
}

}  // namespace

int main(int argc, char** argv) {
  stasis::InitramfsSpec spec;
  bool no_busybox = false;
  CLI::App app("Builds (or finds in the cache) the initramfs of a stasis guest.");
  app.add_option("--modules-dir", spec.modules_dir, "<...>/lib/modules/<release> of the kernel");
  app.add_option("--module", spec.modules, "modules to take instead of the default ones");
  app.add_option("--include", spec.include, "host files to take, with what they need");
  app.add_option("--cache", spec.cache_dir, "cache directory");
  app.add_flag("--lz4", spec.compress, "compress the image");
  app.add_flag("--no-busybox", no_busybox, "leave busybox out");
  CLI11_PARSE(app, argc, argv);

  auto agent = stasis::FindAgentBinary();
  if (!agent.ok()) return Fail(agent.status());
  spec.agent = *agent;
  if (!no_busybox) {
    auto busybox = stasis::FindBusybox();
    if (!busybox.ok()) return Fail(busybox.status());
    spec.busybox = *busybox;
  }
  auto image = stasis::BuildInitramfs(spec);
  if (!image.ok()) return Fail(image.status());
  fprintf(stderr, "%s, %llu bytes, modules:", image->from_cache ? "cached" : "built",
          static_cast<unsigned long long>(image->size));
  for (const std::string& module : image->modules) fprintf(stderr, " %s", module.c_str());
  fprintf(stderr, "\n");
  printf("%s\n", image->path.c_str());
}
