"""Prints what every CPU of a dump was doing: its current task and its stack.

    drgn -c DUMP -s VMLINUX [-s MODULE.ko ...] tools/drgn/cpus.py DUMP

A dump's PRSTATUS notes are numbered by CPU, as QEMU's are (docs/dump-format.md). drgn itself takes
the number for a task's, so the registers are handed to it here.
"""

import struct
import sys

from drgn import Object
from drgn.helpers.linux.percpu import per_cpu

REGISTERS = (
    "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss".split()
)
PRSTATUS_REGISTERS = 112  # offset of pr_reg (<linux/elfcore.h>)
NT_PRSTATUS = 1
MOST_FRAMES = 40


def prstatus_notes(path):
    """Yields the contents of the CORE notes, one per CPU."""
    with open(path, "rb") as dump:
        header = dump.read(64 + 56)
        offset, size = struct.unpack_from("<Q", header, 64 + 8) + struct.unpack_from(
            "<Q", header, 64 + 32
        )
        dump.seek(offset)
        notes = dump.read(size)
    at = 0
    while at < len(notes):
        name_size, content_size, kind = struct.unpack_from("<III", notes, at)
        name = at + 12
        content = name + (name_size + 3) // 4 * 4
        at = content + (content_size + 3) // 4 * 4
        if notes[name : name + 4] == b"CORE" and kind == NT_PRSTATUS:
            yield notes[content : content + content_size]


for cpu, note in enumerate(prstatus_notes(sys.argv[1])):
    values = struct.unpack_from("<%dQ" % len(REGISTERS), note, PRSTATUS_REGISTERS)
    task = per_cpu(prog["runqueues"], cpu).curr  # noqa: F821: drgn defines prog
    print("CPU %d: %s (pid %d)" % (cpu, task.comm.string_().decode(), task.pid.value_()))
    if not any(values):
        print("  no registers")
        continue
    regs = Object(prog, "struct pt_regs", value=dict(zip(REGISTERS, values)))  # noqa: F821
    frames = str(prog.stack_trace(regs)).split("\n")  # noqa: F821
    # Behind the last frame that can be unwound, drgn may go on with zeroes.
    while frames and frames[-1].split()[1:] == ["0x0"]:
        frames.pop()
    for frame in frames[:MOST_FRAMES]:
        print("  " + frame)
