#include "vmm/kvm/kvm.h"

#include <gtest/gtest.h>

#include <string>

namespace stasis::kvm {
namespace {

TEST(KvmTest, MissingDeviceIsNotFoundAndSaysWhatToDo) {
  const absl::StatusOr<Kvm> kvm = Kvm::Open("/nonexistent/kvm");
  EXPECT_TRUE(absl::IsNotFound(kvm.status()));
  EXPECT_NE(kvm.status().message().find("/nonexistent/kvm"), absl::string_view::npos);
  EXPECT_NE(kvm.status().message().find("--accel nested"), absl::string_view::npos);
}

TEST(KvmTest, DeviceThatIsNotKvmIsNamed) {
  const absl::StatusOr<Kvm> kvm = Kvm::Open("/dev/null");
  ASSERT_FALSE(kvm.ok());
  EXPECT_NE(kvm.status().message().find("/dev/null does not answer as KVM does"),
            absl::string_view::npos);
}

TEST(KvmTest, RequiredCapabilitiesAreListedFirst) {
  bool optional_seen = false;
  for (const Capability& capability : KnownCapabilities()) {
    EXPECT_EQ(std::string(capability.name).rfind("KVM_CAP_", 0), 0u) << capability.name;
    EXPECT_FALSE(optional_seen && capability.required) << capability.name;
    optional_seen |= !capability.required;
  }
  EXPECT_TRUE(optional_seen);
}

TEST(KvmTest, OverlappingMemorySlotIsRefusedWithTheIoctlsName) {
  absl::StatusOr<Kvm> kvm = Kvm::Open(KvmDevicePath());
  if (!kvm.ok()) GTEST_SKIP() << kvm.status();
  absl::StatusOr<Vm> vm = kvm->CreateVm();
  ASSERT_TRUE(vm.ok()) << vm.status();
  alignas(4096) static char pages[2 * 4096];
  ASSERT_TRUE(vm->SetMemory(0, 0, sizeof(pages), pages).ok());
  const absl::Status overlap = vm->SetMemory(1, 4096, 4096, pages);
  ASSERT_FALSE(overlap.ok());
  EXPECT_NE(overlap.message().find("KVM_SET_USER_MEMORY_REGION"), absl::string_view::npos);
}

}  // namespace
}  // namespace stasis::kvm
