"""The runtime as Python calls it: structures and functions of runtime/state.h, and loaded kernels."""

from __future__ import annotations

import ctypes
import functools
from typing import NamedTuple

from .compiler import compile_kernel, runtime_path
from .entry import find_kernel, host_source
from .report import Finding, Program

__all__ = ["READ", "WRITE", "Counters", "Launch", "counters", "findings", "lib", "load"]

READ, WRITE = 1, 2


class Launch(ctypes.Structure):
    _fields_ = (
        ("entry", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("groups", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_uint32 * 3),
        ("schedule", ctypes.c_int64),
        ("seed", ctypes.c_uint64),
        ("image_begin", ctypes.c_uint64),
        ("image_end", ctypes.c_uint64),
        ("seconds", ctypes.c_double),
    )


class Counters(NamedTuple):
    """Bytes of a memory in a launch: what threads asked for, and what threadgroups with a perfect cache would move."""

    issued_read: int
    issued_write: int
    read: int
    written: int


@functools.cache
def lib() -> ctypes.CDLL:
    """The library that runs and watches kernels."""
    library = ctypes.CDLL(str(runtime_path()))
    u64, c_int, pointer = ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p
    for name, result, arguments in (
        ("sim_begin_plan", None, ()),
        ("sim_add_memory", c_int, (c_int, pointer, u64, u64)),
        ("sim_address", pointer, (c_int,)),
        ("sim_bytes", u64, (c_int,)),
        ("sim_set_mode", None, (c_int, c_int)),
        ("sim_counters", None, (c_int, pointer)),
        ("sim_mark_written", None, (c_int, u64, u64)),
        ("sim_unwritten", ctypes.c_int64, (c_int, u64, u64, pointer)),
        ("sim_begin_launch", None, ()),
        ("sim_end_launch", None, ()),
        ("sim_array_name", ctypes.c_char_p, (c_int,)),
        ("sim_static_bytes", u64, ()),
        ("sim_findings", c_int, (pointer,)),
        ("sim_launch", c_int, (pointer,)),
        ("sim_image", None, (pointer, pointer)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def load(name: str, kernel_name: str, source: str) -> Program:
    """The compiled kernel. Raises CompileError, or ValueError for a source that cannot be understood."""
    kernel = find_kernel(source, kernel_name)
    path = str(compile_kernel(name, host_source(name, source, kernel)))
    library = ctypes.CDLL(path)
    entry = ctypes.cast(library.sim_entry, ctypes.c_void_p).value
    assert entry is not None
    image = (ctypes.c_uint64 * 2)()
    lib().sim_image(entry, image)
    pointed = [p for p in kernel.parameters if p.attribute in ("buffer", "threadgroup")]
    table = (ctypes.c_long * (3 * len(pointed) + 1)).in_dll(library, "sim_parameters")
    parameters = {
        (p.attribute, p.index or 0): (bool(table[3 * i]), table[3 * i + 1], table[3 * i + 2])
        for i, p in enumerate(pointed)
    }
    lines = tuple(source.split("\n"))
    return Program(name, kernel, library, path, entry, (image[0], image[1]), parameters, lines)


def counters(memory: int) -> Counters:
    """What was counted since the last call."""
    out = (ctypes.c_uint64 * 4)()
    lib().sim_counters(memory, out)
    return Counters(*out)


def findings() -> list[Finding]:
    """What this plan's launches found since it began, or since the last call."""
    found = ctypes.POINTER(Finding)()
    n = lib().sim_findings(ctypes.byref(found))
    return [found[i] for i in range(n)]
