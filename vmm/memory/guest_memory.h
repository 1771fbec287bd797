// GuestMemory: the guest's RAM, as regions of anonymous host memory, with checked access.
#ifndef STASIS_VMM_MEMORY_GUEST_MEMORY_H_
#define STASIS_VMM_MEMORY_GUEST_MEMORY_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "vmm/memory/guest_address.h"

namespace stasis {

// One contiguous range of guest RAM.
struct MemoryRegion {
  GuestAddress base;
  uint64_t size = 0;        // bytes, a multiple of 4096
  uint32_t numa_node = 0;   // node that the range belongs to
  uint8_t* host = nullptr;  // filled in by GuestMemory::Create
};

// Regions do not move or change after Create, so that all members may be called from any thread.
// What the guest does to the bytes at the same time is the caller's business: data that is checked
// must first be copied out (rule Q6).
class GuestMemory {
 public:
  struct Options {
    bool huge_pages = false;  // madvise(MADV_HUGEPAGE): fewer faults, more memory touched
  };

  // Maps `regions` (base and size filled in, ascending, not overlapping) with MAP_NORESERVE: host
  // memory is used only for pages that somebody touches.
  // Errors: InvalidArgument (empty, overlap, alignment), ResourceExhausted (mmap refused).
  static absl::StatusOr<std::unique_ptr<GuestMemory>> Create(std::vector<MemoryRegion> regions,
                                                             Options options);
  static absl::StatusOr<std::unique_ptr<GuestMemory>> Create(std::vector<MemoryRegion> regions) {
    return Create(std::move(regions), Options());
  }
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  const std::vector<MemoryRegion>& regions() const { return regions_; }

  // Sum of the regions' sizes in bytes.
  uint64_t size() const;

  // True if [address, address + length) lies in one region. A length of 0 is true inside a region.
  bool Contains(GuestAddress address, uint64_t length) const {
    return Host(address, length) != nullptr;
  }

  // The host bytes of [address, address + length), or an empty span if the range is not wholly in
  // one region (or length is 0).
  absl::Span<uint8_t> Slice(GuestAddress address, uint64_t length) const {
    uint8_t* host = Host(address, length);
    return host == nullptr ? absl::Span<uint8_t>() : absl::Span<uint8_t>(host, length);
  }

  // Copies; false (and nothing copied) if the range is not wholly in one region.
  [[nodiscard]] bool Read(GuestAddress address, void* to, uint64_t length) const;
  [[nodiscard]] bool Write(GuestAddress address, const void* from, uint64_t length) const;

  // By value, little endian as the host is; nullopt outside of RAM.
  template <typename T>
  std::optional<T> Load(GuestAddress address) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    if (!Read(address, &value, sizeof(T))) return std::nullopt;
    return value;
  }
  template <typename T>
  [[nodiscard]] bool Store(GuestAddress address, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return Write(address, &value, sizeof(T));
  }

  // Atomic access for ring indices and flags (rule Q5). `address` must be aligned to sizeof(T):
  // a misaligned or unmapped address gives nullopt / false.
  template <typename T>
  std::optional<T> LoadAtomic(GuestAddress address,
                              std::memory_order order = std::memory_order_acquire) const {
    T* host = AlignedHost<T>(address);
    if (host == nullptr) return std::nullopt;
    return std::atomic_ref<T>(*host).load(order);
  }
  template <typename T>
  [[nodiscard]] bool StoreAtomic(GuestAddress address, T value,
                                 std::memory_order order = std::memory_order_release) const {
    T* host = AlignedHost<T>(address);
    if (host == nullptr) return false;
    std::atomic_ref<T>(*host).store(value, order);
    return true;
  }

  // Bytes of RAM that are resident on the host (mincore): what the guest or a loader touched.
  uint64_t TouchedBytes() const;

 private:
  explicit GuestMemory(std::vector<MemoryRegion> regions) : regions_(std::move(regions)) {}

  uint8_t* Host(GuestAddress address, uint64_t length) const;
  template <typename T>
  T* AlignedHost(GuestAddress address) const {
    if (address.value() % sizeof(T) != 0) return nullptr;
    return reinterpret_cast<T*>(Host(address, sizeof(T)));
  }

  std::vector<MemoryRegion> regions_;
};

}  // namespace stasis

#endif  // STASIS_VMM_MEMORY_GUEST_MEMORY_H_
