// Register layout of the virtio-mmio transport, version 2 (virtio 1.2 §4.2.2).
#ifndef STASIS_DEVICES_VIRTIO_MMIO_REGISTERS_H_
#define STASIS_DEVICES_VIRTIO_MMIO_REGISTERS_H_

#include <cstdint>

namespace stasis {

constexpr uint64_t kVirtioMmioWindow = 0x200;  // bytes on the bus
constexpr uint32_t kVirtioMmioMagic = 0x74726976;
constexpr uint32_t kVirtioMmioVersion = 2;
constexpr uint32_t kVirtioMmioVendor = 0x53495453;  // "STIS"

namespace mmio {
constexpr uint64_t kMagicValue = 0x000;
constexpr uint64_t kVersion = 0x004;
constexpr uint64_t kDeviceId = 0x008;
constexpr uint64_t kVendorId = 0x00c;
constexpr uint64_t kDeviceFeatures = 0x010;
constexpr uint64_t kDeviceFeaturesSel = 0x014;
constexpr uint64_t kDriverFeatures = 0x020;
constexpr uint64_t kDriverFeaturesSel = 0x024;
constexpr uint64_t kQueueSel = 0x030;
constexpr uint64_t kQueueNumMax = 0x034;
constexpr uint64_t kQueueNum = 0x038;
constexpr uint64_t kQueueReady = 0x044;
constexpr uint64_t kQueueNotify = 0x050;
constexpr uint64_t kInterruptStatus = 0x060;
constexpr uint64_t kInterruptAck = 0x064;
constexpr uint64_t kStatus = 0x070;
constexpr uint64_t kQueueDescLow = 0x080;
constexpr uint64_t kQueueDescHigh = 0x084;
constexpr uint64_t kQueueDriverLow = 0x090;
constexpr uint64_t kQueueDriverHigh = 0x094;
constexpr uint64_t kQueueDeviceLow = 0x0a0;
constexpr uint64_t kQueueDeviceHigh = 0x0a4;
constexpr uint64_t kShmSel = 0x0ac;
constexpr uint64_t kShmLenLow = 0x0b0;  // four registers up to 0x0bc: all ones, no such region
constexpr uint64_t kShmBaseHigh = 0x0bc;
constexpr uint64_t kConfigGeneration = 0x0fc;
constexpr uint64_t kConfig = 0x100;  // device configuration space up to the window's end
}  // namespace mmio

}  // namespace stasis

#endif  // STASIS_DEVICES_VIRTIO_MMIO_REGISTERS_H_
