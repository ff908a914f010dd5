"""Runs the steps of plans: what ``metalfaiss._core.simulate`` calls in the place of a GPU."""

from __future__ import annotations

import ctypes
import functools
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .compiler import CompileError, compile_kernel, runtime
from .entry import MAX_BUFFERS, Kernel, find_kernel, host_source

__all__ = ["SCHEDULES", "Simulator"]

SCHEDULES = ("forward", "reverse", "random")

_KINDS = {"input": 1, "output": 2, "scratch": 3, "parameters": 4, "threadgroup": 5}
_READ, _WRITE = 1, 2
_MODES = {"read": _READ, "write": _WRITE, "read_write": _READ | _WRITE}


class _Launch(ctypes.Structure):
    _fields_ = (
        ("entry", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("dynamic", ctypes.c_void_p),
        ("groups", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_uint32 * 3),
        ("schedule", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
        ("image_begin", ctypes.c_uint64),
        ("image_end", ctypes.c_uint64),
        ("seconds", ctypes.c_double),
    )


class Finding(ctypes.Structure):
    """What the runtime found; see runtime/state.h."""

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


@functools.cache
def _runtime() -> ctypes.CDLL:
    lib = runtime()
    u64, c_int, pointer = ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p
    for name, result, arguments in (
        ("sim_begin_plan", None, ()),
        ("sim_add_memory", c_int, (c_int, pointer, u64, u64)),
        ("sim_address", pointer, (c_int,)),
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
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@dataclass(frozen=True)
class _Program:
    """A compiled kernel."""

    kernel: Kernel
    path: str
    entry: int
    parameters: dict[tuple[str, int], tuple[bool, int, int]]  # (attribute, index): const, bytes, alignment
    lines: list[str]


@functools.lru_cache(maxsize=None)
def _program(name: str, kernel_name: str, source: str) -> _Program:
    kernel = find_kernel(source, kernel_name)
    path = str(compile_kernel(name, host_source(name, source, kernel)))
    library = ctypes.CDLL(path)
    entry = ctypes.cast(library.sim_entry, ctypes.c_void_p).value
    assert entry is not None
    pointed = [p for p in kernel.parameters if p.attribute in ("buffer", "threadgroup")]
    table = (ctypes.c_long * (3 * len(pointed) + 1)).in_dll(library, "sim_parameters")
    parameters = {
        (p.attribute, p.index or 0): (bool(table[3 * i]), table[3 * i + 1], table[3 * i + 2])
        for i, p in enumerate(pointed)
    }
    return _Program(kernel, path, entry, parameters, source.split("\n"))


@dataclass
class _Memory:
    """A memory of the plan: its place in the simulator and in the process."""

    label: str
    index: int
    base: int  # of the original
    copy: int  # of what kernels see
    bytes: int
    mode: int = 0


@dataclass
class Simulator:
    """Runs plans on the CPU, thread by thread, and keeps what is wrong with them.

    schedule: the order of threads and threadgroups: "forward", "reverse" or "random" (from `seed`).
    edit: changes the source of each launch before it is compiled: (family, source) -> source.
    """

    schedule: str = "forward"
    seed: int = 1
    edit: Callable[[str, str], str] | None = None
    findings: list[str] = field(default_factory=list)
    launches: int = 0

    _lock = threading.Lock()  # the runtime runs one launch at a time

    def __call__(self, steps: list[dict[str, Any]]) -> None:
        """Runs the steps of a plan. Raises nothing: see `check`."""
        with Simulator._lock:
            try:
                self._run(steps)
            except (CompileError, ValueError) as e:
                self.findings.append(str(e))
            except Exception:
                self.findings.append(f"the simulator failed\n{traceback.format_exc()}")

    def check(self) -> None:
        """Raises AssertionError with every finding so far."""
        found, self.findings = self.findings, []
        if found:
            raise AssertionError("The simulator found:\n" + "\n".join(f"- {f}" for f in found))

    def _run(self, steps: list[dict[str, Any]]) -> None:
        lib = _runtime()
        lib.sim_begin_plan()
        memories = self._add_memories(steps)
        for step in steps:
            if step["step"] == "product":
                self._product(step, memories)
            elif not self._launch(step, memories):
                break
        for memory in memories.values():
            if memory.label.startswith("output") and memory.bytes:
                ctypes.memmove(memory.base, memory.copy, memory.bytes)

    def _add_memories(self, steps: list[dict[str, Any]]) -> dict[str, _Memory]:
        lib = _runtime()
        memories: dict[str, _Memory] = {}
        for step in steps:
            if step["step"] == "product":
                buffers = [step["a"], step["b"], step["out"]]
            else:
                buffers = [a[0] for a in step["arguments"] if not isinstance(a, bytes)]
            for label, address, low, high in buffers:
                if label not in memories:
                    kind = label.split()[0]
                    original = address + low if kind == "input" and high > low else None
                    index = lib.sim_add_memory(_KINDS[kind], original, high - low, (address + low) % 128)
                    if index < 0:
                        raise ValueError(f"{label} does not fit into the simulator: {high - low} bytes")
                    memories[label] = _Memory(label, index, address + low, lib.sim_address(index), high - low)
        return memories

    def _launch(self, step: dict[str, Any], memories: dict[str, _Memory]) -> bool:
        """Whether it ran to its end."""
        lib = _runtime()
        source = step["source"] if self.edit is None else self.edit(step["family"], step["source"])
        program = _program(step["name"], step["kernel"], source)
        lib.sim_begin_launch()
        try:
            buffers = (ctypes.c_void_p * (2 * MAX_BUFFERS + 2))()
            for memory in memories.values():
                memory.mode = 0
            for i, argument in enumerate(step["arguments"]):
                if isinstance(argument, bytes):
                    index = lib.sim_add_memory(_KINDS["parameters"], argument, len(argument), 0)
                    lib.sim_set_mode(index, _READ)
                    buffers[i] = lib.sim_address(index)
                else:
                    (label, address, _, _), access = argument
                    memory = memories[label]
                    memory.mode |= _MODES[access]
                    buffers[i] = memory.copy + (address - memory.base)
            for memory in memories.values():
                lib.sim_set_mode(memory.index, memory.mode)
            if step["threadgroup_bytes"]:
                index = lib.sim_add_memory(_KINDS["threadgroup"], None, step["threadgroup_bytes"], 0)
                lib.sim_set_mode(index, _READ | _WRITE)
                buffers[MAX_BUFFERS] = lib.sim_address(index)
            image = program.entry & ~0xFFFFFFF
            launch = _Launch(
                entry=program.entry,
                buffers=ctypes.addressof(buffers),
                groups=step["groups"],
                threads=step["threads"],
                schedule=SCHEDULES.index(self.schedule),
                seed=self.seed + self.launches,
                image_begin=image,
                image_end=image + (1 << 29),
            )
            self.launches += 1
            aborted = lib.sim_launch(ctypes.byref(launch))
            self._collect(step, program, memories)
            return not aborted
        finally:
            lib.sim_end_launch()

    def _collect(self, step: dict[str, Any], program: _Program, memories: dict[str, _Memory]) -> None:
        lib = _runtime()
        found = ctypes.POINTER(Finding)()
        for i in range(lib.sim_findings(ctypes.byref(found))):
            f = found[i]
            self.findings.append(
                f"{step['name']}: what={f.what} memory={f.memory} offset={f.offset} thread={f.thread} group={list(f.group)} {f.text.decode()}"
            )

    def _product(self, step: dict[str, Any], memories: dict[str, _Memory]) -> None:
        m, n, k = step["mnk"]
        shapes = {"a": (m, k), "b": (n, k) if step["b_transposed"] else (k, n), "out": (m, n)}
        strides = {"a": step["strides"][0], "b": step["strides"][1], "out": n}
        views = {}
        for name, (rows, columns) in shapes.items():
            label, address, low, high = step[name]
            memory = memories[label]
            end = 4 * ((rows - 1) * strides[name] + columns) if rows and columns else 0
            if end > high:
                raise ValueError(f"product: {name} ends at byte {end} of {label}, which has {high}")
            offset = address - memory.base
            buffer = (ctypes.c_char * (end + offset)).from_address(memory.copy)
            views[name] = np.ndarray((rows, columns), np.float32, buffer, offset, (4 * strides[name], 4))
            if name == "out":
                _runtime().sim_mark_written(memory.index, offset, end)
        views["out"][...] = views["a"] @ (views["b"].T if step["b_transposed"] else views["b"])
