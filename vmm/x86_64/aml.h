// A small encoder of ACPI Machine Language (ACPI 6.5 chapter 20) and resource templates (§6.4):
// what a DSDT of fixed devices needs.
#ifndef STASIS_VMM_X86_64_AML_H_
#define STASIS_VMM_X86_64_AML_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace stasis::aml {

// Each function returns the encoded term; terms that follow each other are concatenated. A name
// segment has 4 characters, a path may start with '\' and join segments with '.'.
std::string Name(absl::string_view path, absl::string_view object);
std::string Scope(absl::string_view path, absl::string_view terms);
std::string Device(absl::string_view path, absl::string_view terms);
std::string Package(uint8_t count, absl::string_view elements);

std::string Integer(uint64_t value);
std::string String(absl::string_view text);  // ASCII without NUL
std::string Buffer(absl::string_view bytes);
// "PNP0501": three letters and four hexadecimal digits, as the compressed integer of _HID.
std::string EisaId(absl::string_view id);

// A _CRS buffer of the descriptors, with the end tag.
std::string ResourceTemplate(absl::string_view descriptors);
std::string MemoryFixed(uint64_t base, uint64_t size);  // 32 bits where they do, else 64
std::string IoPorts(uint16_t base, uint8_t count);
// Consumer, edge-triggered, active high, exclusive.
std::string EdgeInterrupt(uint32_t gsi);

}  // namespace stasis::aml

#endif  // STASIS_VMM_X86_64_AML_H_
