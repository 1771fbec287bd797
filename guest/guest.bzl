"""Options of the code that runs in the guest: small, because every boot unpacks it."""

GUEST_COPTS = [
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
]
