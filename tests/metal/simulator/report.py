"""From what the runtime found to sentences with the kernel's source lines."""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from .compiler import clang
from .entry import Kernel, metal_lines

__all__ = ["Finding", "Program", "describe"]


class Finding(ctypes.Structure):
    """What the runtime found: sim::Finding of runtime/state.h."""

    _fields_ = (
        ("what", ctypes.c_int32),
        ("memory", ctypes.c_int32),
        ("offset", ctypes.c_int64),
        ("size", ctypes.c_int32),
        ("is_write", ctypes.c_int32),
        ("pc", ctypes.c_uint64),
        ("other_pc", ctypes.c_uint64),
        ("group", ctypes.c_uint32 * 3),
        ("thread", ctypes.c_int32),
        ("other_thread", ctypes.c_int32),
        ("other_is_write", ctypes.c_int32),
        ("text", ctypes.c_char * 232),
    )


@dataclass(frozen=True)
class Program:
    """A compiled kernel."""

    name: str
    kernel: Kernel
    library: ctypes.CDLL
    path: str
    entry: int
    image: tuple[int, int]  # the addresses of its code and constants
    parameters: dict[tuple[str, int], tuple[bool, int, int]]  # (attribute, index): const, bytes, alignment
    lines: tuple[str, ...]


# By sim::What.
_NAMES = (
    "",
    "out of bounds",
    "wild access",
    "misaligned",
    "read-only",
    "unwritten",
    "write-only",
    "race",
    "race of threadgroups",
    "barrier",
    "simd",
    "shuffle",
    "undefined",
    "time limit",
    "crash",
)


def describe(f: Finding, program: Program, memory: Callable[[int], tuple[str, int]]) -> str:
    """One finding: which check, kernel, line, thread, and what is wrong. `memory`: its name and bytes."""
    what = _NAMES[f.what]
    text = re.sub(r"'sim_type_(\w+)' \(aka '([^']+)'\)", r"\1, '\2'", f.text.decode())
    where = _where(program, f.pc)
    thread = f"thread {f.thread} of threadgroup ({f.group[0]}, {f.group[1]}, {f.group[2]})"
    access = f"{'writes' if f.is_write else 'reads'} {f.size} bytes at byte {f.offset}"
    name, size = memory(f.memory) if f.memory else ("", 0)
    if what == "out of bounds":
        body = f"{thread} {access} of {name}, which has {size}"
    elif what == "wild access":
        body = f"{thread} {access.split(' at ')[0]} at address {f.offset & (2**64 - 1):#x}, which is nobody's"
    elif what == "misaligned":
        body = f"{thread} {access} of {name}: not a multiple of {f.size}"
    elif what == "read-only":
        body = f"{thread} {access} of {name}, which is bound for reading"
    elif what == "unwritten":
        body = f"{thread} {access} of {name}, which nobody wrote"
    elif what == "write-only":
        body = f"{thread} {access} of {name}, which is bound for writing alone and was not written in this launch"
    elif what in ("race", "race of threadgroups"):
        body = f"{thread} {access} of {name}, which {_other(f, program)}"
    elif what == "time limit":
        body = f"{thread} does not come to an end in {text} s"
    else:
        body = f"{thread}: {text}"
        if f.other_pc:
            body += f" ({_where(program, f.other_pc)})"
    return f"[{what}] {program.name}, {where}: {body}"


def _other(f: Finding, program: Program) -> str:
    did = "wrote" if f.other_is_write else "read"
    where = _where(program, f.other_pc)
    if _NAMES[f.what] == "race of threadgroups":
        return f"another threadgroup {did} in the same launch at {where}"
    who = {-2: "a matrix operation of its simdgroup", -3: "several threads"}.get(
        f.other_thread, f"thread {f.other_thread}"
    )
    if f.other_thread == -2 and f.thread < 0:
        who = "a matrix operation"
    return f"{who} {did} at {where}, with no barrier for that memory between"


def _where(program: Program, pc: int) -> str:
    """`metal/gemm.metal:57 "acc += tile[i];"`; where it is inlined, the calls to it as well."""
    frames = [line for file, line in _frames(program.path, pc - program.image[0]) if file == program.name]
    lines = [_line(program, line) for line in frames]
    return ", called from ".join(dict.fromkeys(lines)) if lines else "a place without a line"


def _line(program: Program, number: int) -> str:
    text = program.lines[number - 1].strip() if 0 < number <= len(program.lines) else ""
    place = metal_lines().get(text, f"line {number}")
    return f'{place} "{text}"'


@functools.cache
def _frames(path: str, offset: int) -> tuple[tuple[str, int], ...]:
    """The source positions of an address, innermost first."""
    near = re.sub(r"clang\+\+", "llvm-symbolizer", clang())
    tool = next((t for t in (near, "llvm-symbolizer-19", "llvm-symbolizer") if shutil.which(t)), None)
    if tool is None:
        return ()
    command = [tool, f"--obj={path}", "--inlining", "--functions=none", "--relativenames", hex(offset)]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^(.*):(\d+):\d+$", out, re.MULTILINE)
    return tuple((file.rsplit("/", 1)[-1], int(line)) for file, line in found)
