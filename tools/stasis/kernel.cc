// stasis kernel: the kernels in the cache.
#include <stdio.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/harness/files.h"
#include "tools/harness/initramfs/initramfs.h"
#include "tools/kernels/kernel_store.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

Finding ErrorOf(const absl::Status& status) { return FindingFromStatus(Layer::kHost, status); }

// Passes the store's messages to the progress line: the first word groups.
Progress ShowOn(ProgressLine* line) {
  return [line, stage = std::string()](absl::string_view message) mutable {
    const size_t colon = message.find(": ");
    const std::string group(message.substr(0, colon));
    if (group != stage) {
      stage = group;
      line->Stage(message);
    } else if (colon != absl::string_view::npos) {
      line->Detail(message.substr(colon + 2));
    }
  };
}

std::string OriginText(const KernelOrigin& origin) {
  if (origin.kind.empty()) return "";
  return absl::StrCat(origin.kind, " ", origin.package.empty() ? origin.name : origin.package,
                      origin.version.empty() ? "" : " ", origin.version);
}

int FetchDebug(const std::vector<std::string>& specs) {
  KernelStore store(CacheDirectory());
  ProgressLine line(STDERR_FILENO, ProgressLine::StyleFor(STDERR_FILENO));
  for (const std::string& spec : specs) {
    absl::StatusOr<std::string> folder = store.FetchDebug(spec, ShowOn(&line));
    line.Clear();
    if (!folder.ok()) return Complain(ErrorOf(folder.status()));
    printf("%s/vmlinux\n", folder->c_str());
  }
  return 0;
}

int Fetch(const std::vector<std::string>& specs) {
  KernelStore store(CacheDirectory());
  ProgressLine line(STDERR_FILENO, ProgressLine::StyleFor(STDERR_FILENO));
  for (const std::string& spec : specs) {
    absl::StatusOr<CachedKernel> kernel = store.Fetch(spec, ShowOn(&line));
    line.Clear();
    if (!kernel.ok()) return Complain(ErrorOf(kernel.status()));
    printf("%s\n", kernel->release.c_str());
  }
  return 0;
}

int List() {
  const KernelStore store(CacheDirectory());
  absl::StatusOr<std::vector<CachedKernel>> kernels = store.List();
  if (!kernels.ok()) return Complain(ErrorOf(kernels.status()));
  if (kernels->empty()) {
    fprintf(stderr, "stasis: no kernels in %s; 'stasis kernel fetch 6.12' gets one\n",
            store.cache_directory().c_str());
  }
  for (const CachedKernel& kernel : *kernels) {
    printf("%-32s %s%s\n", kernel.release.c_str(), OriginText(kernel.origin).c_str(),
           kernel.modules.empty() ? " (no modules)" : "");
  }
  return 0;
}

int Path(const std::string& name) {
  const KernelStore store(CacheDirectory());
  absl::StatusOr<ResolvedKernel> kernel = store.Resolve(name, ProcessEnvironment());
  if (!kernel.ok()) return Complain(ErrorOf(kernel.status()));
  printf("%s\n", kernel->image.c_str());
  return 0;
}

int Build(BuildRequest request) {
  KernelStore store(CacheDirectory());
  if (request.source != "debian") request.source = AbsolutePath(request.source);
  request.fragment = AbsolutePath(request.fragment);
  ProgressLine line(STDERR_FILENO, ProgressLine::StyleFor(STDERR_FILENO));
  absl::StatusOr<BuildResult> built = store.Build(request, ShowOn(&line));
  line.Clear();
  if (!built.ok()) return Complain(ErrorOf(built.status()));
  if (!built->not_taken.empty()) {
    fprintf(stderr, "stasis: warning: the configuration did not take %s\n",
            absl::StrJoin(built->not_taken, ", ").c_str());
  }
  printf("%s\n", built->kernel.release.c_str());
  return 0;
}

}  // namespace

void AddKernelCommand(CLI::App* app, Invocation* invocation) {
  CLI::App* command = app->add_subcommand("kernel", "Fetches, builds and lists kernels");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  stasis kernel fetch 6.12 sid\n"
      "  stasis kernel fetch 6.1 --debug\n"
      "  stasis kernel build --fragment my.config --name mine --source ~/src/linux\n"
      "  stasis kernel list\n"
      "  stasis kernel path 6.12");

  auto specs = std::make_shared<std::vector<std::string>>();
  CLI::App* fetch = command->add_subcommand("fetch", "Takes kernels from Debian, with modules");
  fetch
      ->add_option("spec", *specs,
                   absl::StrCat("One of ", absl::StrJoin(KernelStore::FetchSpecs(), ", ")))
      ->required();
  auto debug = std::make_shared<bool>(false);
  fetch->add_flag("--debug", *debug,
                  "With debugging symbols, for drgn and gdb; prints the path of the vmlinux");
  fetch->callback([specs, debug, invocation] {
    invocation->action = [specs, debug] { return *debug ? FetchDebug(*specs) : Fetch(*specs); };
  });

  command->add_subcommand("list", "Lists the kernels in the cache")->callback([invocation] {
    invocation->action = List;
  });

  auto name = std::make_shared<std::string>();
  CLI::App* path = command->add_subcommand("path", "Prints the image that --kernel NAME means");
  path->add_option("name", *name, "As for --kernel; without it the default kernel");
  path->callback([name, invocation] { invocation->action = [name] { return Path(*name); }; });

  auto request = std::make_shared<BuildRequest>();
  request->jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  CLI::App* build =
      command->add_subcommand("build", "Builds a kernel from a configuration fragment");
  build->add_option("--source", request->source,
                    "A kernel tree, or 'debian' for its linux-source package");
  build->add_option("--fragment", request->fragment, "Options, on top of allnoconfig")->required();
  build->add_option("--name", request->name, "What --kernel finds it by")->required();
  build->add_option("--jobs,-j", request->jobs, "Compilers at once")->check(CLI::PositiveNumber);
  build->add_flag("--keep-build-tree", request->keep_build_tree,
                  "Keeps the tree, so that the next build is quick");
  build->callback(
      [request, invocation] { invocation->action = [request] { return Build(*request); }; });
}

}  // namespace stasis
