"""Runs the steps of plans: what ``metalfaiss._core.simulate`` calls in the place of a GPU."""

from __future__ import annotations

import ctypes
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..runner import Runner, Traffic
from . import native
from .checks import MAX_TENSOR_THREADGROUP_BYTES, MAX_THREADGROUP_BYTES, launch_findings
from .compiler import CompileError
from .entry import MAX_BUFFERS
from .product import multiply
from .report import Program, describe

__all__ = ["SCHEDULES", "Memory", "Simulator", "Traffic"]

SCHEDULES = ("forward", "reverse", "random")

_KINDS = {"input": 1, "output": 2, "scratch": 3, "parameters": 4, "threadgroup": 5}
_MODES = {"read": native.READ, "write": native.WRITE, "read_write": native.READ | native.WRITE}


@dataclass
class Memory:
    """A memory of a plan: its place in the process and in the simulator, where its surroundings are nobody's."""

    label: str
    index: int
    base: int  # the address of the original's first byte
    copy: int  # of what kernels see
    bytes: int
    mode: int = 0


@dataclass
class Simulator(Runner):
    """Runs plans on the CPU, thread by thread, and keeps what is wrong with them.

    schedule: the order of threads and threadgroups: "forward", "reverse" or "random" (from `seed`).
    edit: changes the source of each launch before it is compiled: (family, source) -> source.
    seconds: of CPU time, after which a launch is taken to have no end.
    """

    schedule: str = "forward"
    seed: int = 1
    edit: Callable[[str, str], str] | None = None
    seconds: float = 60.0

    _lock = threading.Lock()  # the runtime runs one launch at a time
    _sources: dict[str, str] = field(default_factory=dict, repr=False)  # by the launch's name

    def __call__(self, steps: list[dict[str, Any]]) -> None:
        """Runs the steps of a plan. Raises nothing: see `check`."""
        with Simulator._lock:
            try:
                self._run(steps)
            except CompileError as e:
                self.findings.append(f"[compile] {e}")
            except ValueError as e:
                self.findings.append(f"[plan] {e}")
            except Exception:
                self.findings.append(f"[simulator] it failed\n{traceback.format_exc()}")

    def _run(self, steps: list[dict[str, Any]]) -> None:
        native.lib().sim_begin_plan()
        memories = _add_memories(steps)
        try:
            if all(self._step(step, memories) for step in steps):
                self._check_outputs(steps, memories)
        finally:
            for memory in memories.values():
                if memory.label.startswith("output") and memory.bytes:
                    ctypes.memmove(memory.base, memory.copy, memory.bytes)

    def _step(self, step: dict[str, Any], memories: dict[str, Memory]) -> bool:
        """Whether what follows can run as well."""
        if step["step"] == "product":
            found, bytes = multiply(step, memories)
            self.findings += found
            self.traffic.append(Traffic("product", "product", bytes))
            return True
        return step["step"] != "launch" or self._launch(step, memories)

    def _launch(self, step: dict[str, Any], memories: dict[str, Memory]) -> bool:
        if step.get("guard") and not self._is_open(step, memories):
            return True
        source = step["source"] if self.edit is None else self.edit(step["family"], step["source"])
        if self._sources.setdefault(step["name"], source) != source:
            self.findings.append(f"[launch] {step['name']}: two different sources have this name")
        program = native.load(step["name"], step["kernel"], source)
        moves = {label: memory.copy - memory.base for label, memory in memories.items()}
        found = launch_findings(step, program.kernel, program.parameters, moves)
        if found:
            self.findings += found
            return False
        native.lib().sim_begin_launch()
        try:
            is_complete = self._run_kernel(step, program, memories)
            self.traffic.append(Traffic(step["name"], step["kernel"], _counted(memories)))
            return is_complete
        finally:
            native.lib().sim_end_launch()

    def _is_open(self, step: dict[str, Any], memories: dict[str, Memory]) -> bool:
        """Whether the integer that guards a launch is not 0."""
        label, address, _, _ = step["guard"]
        memory = memories[label]
        at = address - memory.base
        if native.lib().sim_unwritten(memory.index, at, 4, ctypes.byref(ctypes.c_uint64())) >= 0:
            self.findings.append(f"[unwritten] {step['name']}: nobody wrote what guards it, byte {at} of {label}")
            return False
        return ctypes.c_int32.from_address(memory.copy + at).value != 0

    def _run_kernel(self, step: dict[str, Any], program: Program, memories: dict[str, Memory]) -> bool:
        lib = native.lib()
        names: dict[int, str] = {}
        buffers = _bind(step, program, memories, names)
        launch = native.Launch(
            entry=program.entry,
            buffers=ctypes.addressof(buffers),
            groups=step["groups"],
            threads=step["threads"],
            schedule=SCHEDULES.index(self.schedule),
            seed=self.seed + len(self.traffic),
            image_begin=program.image[0],
            image_end=program.image[1],
            seconds=self.seconds,
        )
        is_aborted = lib.sim_launch(ctypes.byref(launch))

        def memory(index: int) -> tuple[str, int]:
            name = names.get(index)
            if name is None:
                array = lib.sim_array_name(index)
                name = f"threadgroup array {array.decode()}" if array else "a memory that is not bound"
            return name, lib.sim_bytes(index)

        self.findings += [describe(f, program, memory) for f in native.findings()]
        used = lib.sim_static_bytes() + step["threadgroup_bytes"]
        most = MAX_TENSOR_THREADGROUP_BYTES if self.multiplies else MAX_THREADGROUP_BYTES
        if used > most:
            self.findings.append(
                f"[launch] {step['name']}: {used} bytes of threadgroup memory: at most {most} are allowed"
            )
        return not is_aborted

    def _check_outputs(self, steps: list[dict[str, Any]], memories: dict[str, Memory]) -> None:
        names = ", ".join(dict.fromkeys(s.get("name", s["step"]) for s in steps if s["step"] != "end"))
        for memory in memories.values():
            if memory.label.startswith("output") and memory.bytes:
                count = ctypes.c_uint64()
                first = native.lib().sim_unwritten(memory.index, 0, memory.bytes, ctypes.byref(count))
                if first >= 0:
                    self.findings.append(
                        f"[unwritten output] {names}: {count.value} of the {memory.bytes} bytes of {memory.label} "
                        f"are written by nobody, the first at byte {first}"
                    )


def _buffers_of(step: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    if step["step"] == "product":
        return [step["a"], step["b"], step["out"]]
    if step["step"] == "end":
        return list(step["outputs"])
    guard = [step["guard"]] if step.get("guard") else []
    return [*(a[0] for a in step["arguments"] if not isinstance(a, bytes)), *guard]


def _add_memories(steps: list[dict[str, Any]]) -> dict[str, Memory]:
    """Copies of the inputs; outputs and scratch that nobody has written."""
    lib = native.lib()
    memories: dict[str, Memory] = {}
    offsets = steps[-1].get("offsets", {}) if steps else {}
    for step in steps:
        for label, address, low, high in _buffers_of(step):
            base, size = address + low, high - low
            if label not in memories:
                kind = label.split()[0]
                original = base if kind == "input" and size > 0 else None
                index = lib.sim_add_memory(_KINDS[kind], original, size, (offsets.get(label, base - low) + low) % 128)
                if index < 0:
                    raise ValueError(f"{label} has {size} bytes: the simulator has no room for them")
                memories[label] = Memory(label, index, base, lib.sim_address(index), size)
    return memories


def _bind(
    step: dict[str, Any], program: Program, memories: dict[str, Memory], names: dict[int, str]
) -> ctypes.Array[ctypes.c_void_p]:
    """The addresses that the kernel gets; fills in the names of the memories that it sees."""
    lib = native.lib()
    buffers = (ctypes.c_void_p * (MAX_BUFFERS + 2))()
    parameters = {(p.attribute, p.index): p.name for p in program.kernel.parameters}
    for memory in memories.values():
        memory.mode = 0
        names[memory.index] = memory.label
    for i, argument in enumerate(step["arguments"]):
        name = parameters["buffer", i]
        if isinstance(argument, bytes):
            index = lib.sim_add_memory(_KINDS["parameters"], argument, len(argument), 0)
            lib.sim_set_mode(index, native.READ)
            buffers[i] = lib.sim_address(index)
            names[index] = f"parameters {name}"
        else:
            (label, address, _, _), access = argument
            memory = memories[label]
            memory.mode |= _MODES[access]
            buffers[i] = memory.copy + (address - memory.base)
            names[memory.index] += f" ({name})"
    for memory in memories.values():
        lib.sim_set_mode(memory.index, memory.mode)
    if step["threadgroup_bytes"]:
        index = lib.sim_add_memory(_KINDS["threadgroup"], None, step["threadgroup_bytes"], 0)
        lib.sim_set_mode(index, native.READ | native.WRITE)
        buffers[MAX_BUFFERS] = lib.sim_address(index)
        names[index] = f"threadgroup memory {parameters['threadgroup', 0]}"
    return buffers


def _counted(memories: dict[str, Memory]) -> dict[str, native.Counters]:
    counted = {label: native.counters(memory.index) for label, memory in memories.items()}
    return {label: c for label, c in counted.items() if any(c)}
