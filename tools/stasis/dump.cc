// stasis dump: what a failure dump holds.
#include <stdio.h>

#include <memory>

#include "tools/inspect/dump_file.h"
#include "tools/inspect/dump_text.h"
#include "tools/stasis/command.h"

namespace stasis {
namespace {

int Unreadable(const absl::Status& status) { return Complain(HostError(status)); }

// Runs `print` on the dump at `path`. Parts of this project's own need its note.
template <typename Print>
int WithDump(const std::string& path, bool needs_facts, Print print) {
  absl::StatusOr<std::unique_ptr<DumpFile>> dump = DumpFile::Open(path);
  if (!dump.ok()) return Unreadable(dump.status());
  if (needs_facts && (*dump)->facts().is_null()) {
    return Unreadable(absl::InvalidArgumentError(
        path +
        ": no note of stasis in it, so it is a dump of another program; 'stasis dump notes' "
        "and 'memory' work, and so do drgn and crash"));
  }
  return print(**dump);
}

int Print(const std::string& text) {
  fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

// The dump that a subcommand is about, and the kernel's symbols from outside.
struct Source {
  std::string path;
  std::string vmlinux;
};

std::shared_ptr<Source> AddSource(CLI::App* command, bool with_vmlinux) {
  auto source = std::make_shared<Source>();
  command->add_option("file", source->path, "The dump")->required();
  if (with_vmlinux) {
    command->add_option("--vmlinux", source->vmlinux,
                        "Symbols from this file, for a kernel that carries none itself");
  }
  return source;
}

// WithDump, and the dump's text with the symbols that were asked for.
template <typename Print>
int WithText(const Source& source, bool needs_facts, Print print) {
  return WithDump(source.path, needs_facts, [&](const DumpFile& file) {
    DumpText text(&file);
    if (!source.vmlinux.empty()) {
      if (absl::Status used = text.UseVmlinux(source.vmlinux); !used.ok()) return Unreadable(used);
    }
    return print(text);
  });
}

using Part = std::string (DumpText::*)() const;

void AddPart(CLI::App* dump, Invocation* invocation, const char* name, const char* help, Part part,
             bool needs_facts) {
  CLI::App* command = dump->add_subcommand(name, help);
  const std::shared_ptr<Source> source = AddSource(command, /*with_vmlinux=*/true);
  command->callback([=] {
    invocation->action = [=] {
      return WithText(*source, needs_facts,
                      [&](const DumpText& text) { return Print((text.*part)()); });
    };
  });
}

void AddJson(CLI::App* dump, Invocation* invocation) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = dump->add_subcommand("json", "Everything but the memory, as JSON");
  command->add_option("file", *path, "The dump")->required();
  command->callback([=] {
    invocation->action = [=] {
      return WithDump(*path, /*needs_facts=*/true, [](const DumpFile& file) {
        return Print(file.facts().dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
                     "\n");
      });
    };
  });
}

struct MemoryOptions {
  std::string where;
  uint64_t length = 64;
  bool physical = false;
};

void AddMemory(CLI::App* dump, Invocation* invocation) {
  auto options = std::make_shared<MemoryOptions>();
  CLI::App* command = dump->add_subcommand("memory", "Guest memory as hexadecimal text");
  const std::shared_ptr<Source> source = AddSource(command, /*with_vmlinux=*/true);
  command
      ->add_option("where", options->where,
                   "A symbol of the kernel (linux_banner) or an address (0xffffffff82000000)")
      ->required();
  command->add_option("--length", options->length, "Bytes")->capture_default_str();
  command->add_flag("--physical", options->physical, "The address is a guest-physical one");
  command->callback([=] {
    invocation->action = [=] {
      return WithText(*source, /*needs_facts=*/false, [&](const DumpText& text) {
        const auto bytes = text.Memory(options->where, options->physical, options->length);
        if (bytes.ok()) return Print(*bytes);
        return absl::IsInvalidArgument(bytes.status())
                   ? Complain(FindingFromStatus(Layer::kNone, bytes.status()))
                   : Unreadable(bytes.status());
      });
    };
  });
}

void AddDiff(CLI::App* dump, Invocation* invocation) {
  auto before = std::make_shared<std::string>();
  auto after = std::make_shared<std::string>();
  CLI::App* command = dump->add_subcommand("diff", "What changed from one dump to another");
  command->add_option("before", *before, "A dump")->required();
  command->add_option("after", *after, "A later dump")->required();
  command->callback([=] {
    invocation->action = [=] {
      return WithDump(*before, /*needs_facts=*/true, [&](const DumpFile& first) {
        return WithDump(*after, /*needs_facts=*/true, [&](const DumpFile& second) {
          return Print(DumpText(&second).Diff(first));
        });
      });
    };
  });
}

}  // namespace

void AddDumpCommand(CLI::App* app, Invocation* invocation) {
  CLI::App* dump = app->add_subcommand("dump", "Shows what a failure dump holds");
  dump->require_subcommand(1);
  AddPart(dump, invocation, "summary", "What failed, where each CPU was, what the devices did",
          &DumpText::Summary, true);
  AddPart(dump, invocation, "cpus", "The registers of every CPU", &DumpText::Cpus, true);
  AddPart(dump, invocation, "backtrace", "The kernel stack of every CPU", &DumpText::Backtrace,
          true);
  AddPart(dump, invocation, "devices", "The state of every device", &DumpText::Devices, true);
  AddPart(dump, invocation, "console", "The end of the guest's console", &DumpText::Console, true);
  AddPart(dump, invocation, "timeline", "What happened when", &DumpText::Timeline, true);
  AddPart(dump, invocation, "notes", "The notes and memory segments of the file", &DumpText::Notes,
          false);
  AddDumpSchedulerCommands(dump, invocation);
  AddMemory(dump, invocation);
  AddJson(dump, invocation);
  AddDiff(dump, invocation);
  dump->footer(
      "Frames behind '?' are guessed from the words on the stack.\n"
      "Examples:\n"
      "  stasis dump summary stasis-dumps/*.vmcore\n"
      "  stasis dump memory FILE linux_banner --length 128");
}

}  // namespace stasis
