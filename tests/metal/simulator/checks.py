"""What can be said of a launch before it runs: does it fit its kernel's signature, and Metal's limits?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .entry import MAX_BUFFERS, Kernel

__all__ = ["MAX_TENSOR_THREADGROUP_BYTES", "MAX_THREADGROUP_BYTES", "launch_findings"]

MAX_THREADS = 1024
MAX_THREADGROUP_BYTES = 32768
MAX_TENSOR_THREADGROUP_BYTES = 227 << 10  # of GPUs that multiply matrices: Hopper
_MAX_GROUPS = 2**31

# (attribute, index): const, bytes of what it points to, their alignment
Parameters = dict[tuple[str, int], tuple[bool, int, int]]


def launch_findings(
    step: dict[str, Any], kernel: Kernel, parameters: Parameters, moves: Mapping[str, int]
) -> list[str]:
    """What is wrong with a launch, given its kernel, what the compiler says of the parameters, and how far each memory
    was moved."""
    return [f"[launch] {step['name']}: {text}" for text in _findings(step, kernel, parameters, moves)]


def _findings(step: dict[str, Any], kernel: Kernel, parameters: Parameters, moves: Mapping[str, int]) -> Iterator[str]:
    yield from _sizes(step, kernel)
    yield from _arguments(step, kernel, parameters, moves)
    yield from _threadgroup_memory(step, parameters)
    for name, _ in step["constants"]:
        if len(re.findall(rf"\b{re.escape(name)}\b", step["source"])) < 2:
            yield f"the constant {name} is not used by the kernel's file"


def _sizes(step: dict[str, Any], kernel: Kernel) -> Iterator[str]:
    for what, sizes in (("groups", step["groups"]), ("threads", step["threads"])):
        for axis, size in zip("xyz", sizes, strict=True):
            if not 0 < size < _MAX_GROUPS:
                yield f"{what}.{axis} is {size}: it must be positive and below 2^31"
    x, y, z = step["threads"]
    if x * y * z > MAX_THREADS:
        yield f"{x * y * z} threads in a threadgroup: at most {MAX_THREADS} are allowed"
    if any(p.attribute in ("thread_position_in_grid", "threads_per_grid") for p in kernel.parameters):
        for axis, groups, threads in zip("xyz", step["groups"], step["threads"], strict=True):
            if groups * threads > 2**32:
                yield f"the grid has {groups * threads} threads along {axis}: positions in it are 32-bit"


def _arguments(step: dict[str, Any], kernel: Kernel, parameters: Parameters, moves: Mapping[str, int]) -> Iterator[str]:
    arguments = step["arguments"]
    buffers = [p for p in kernel.parameters if p.is_buffer]
    indices = [p.index for p in buffers]
    if sorted(i for i in indices if i is not None) != list(range(len(buffers))):
        yield f"the kernel's buffers have the indices {indices}: they must be 0 to {len(buffers) - 1}, once each"
    if len(arguments) != len(buffers):
        yield f"{len(arguments)} arguments for the kernel's {len(buffers)} buffers"
    if len(arguments) > MAX_BUFFERS:
        yield f"{len(arguments)} arguments: Metal has {MAX_BUFFERS} buffers"
    for p in buffers:
        if p.index is None or p.index >= len(arguments):
            continue
        is_const, size, alignment = parameters["buffer", p.index]
        name, argument = f"buffer {p.index} ({p.name})", arguments[p.index]
        if isinstance(argument, bytes):
            yield from _parameters(name, argument, is_const, size)
        else:
            yield from _buffer(name, argument, p.is_constant, is_const)
            (label, address, _, high), _ = argument
            if (address + moves[label]) % alignment and high > 0:
                at = (address + moves[label]) % alignment
                yield f"{name} needs addresses that are a multiple of {alignment}; {label} begins {at} bytes behind one"


def _parameters(name: str, argument: bytes, is_const: bool, size: int) -> Iterator[str]:
    if not is_const:
        yield f"{name} is bound to parameters, but is not constant"
    elif len(argument) != size:
        yield f"{name} has {size} bytes in the kernel and {len(argument)} in the plan"


def _buffer(name: str, argument: Any, is_constant: bool, is_const: bool) -> Iterator[str]:
    (label, _, _, _), access = argument
    if is_constant:
        yield f"{name} is constant parameters, but {label} is bound to it"
    if is_const and access != "read":
        yield f"{name} is const in the kernel, but {label} is bound to it as {access}"
    if not is_const and access == "read":
        yield f"{name} is not const in the kernel, but {label} is bound to it as read"
    if access != "read" and label.startswith("input"):
        yield f"{name} would write to {label}"


def _threadgroup_memory(step: dict[str, Any], parameters: Parameters) -> Iterator[str]:
    given, wanted = step["threadgroup_bytes"], [i for attribute, i in parameters if attribute == "threadgroup"]
    if wanted not in ([], [0]):
        yield f"the kernel has the threadgroup memories {wanted}: launches know [[threadgroup(0)]] alone"
    if wanted and not given:
        yield "the kernel has [[threadgroup(0)]], but threadgroup_bytes is 0"
    if given and not wanted:
        yield f"threadgroup_bytes is {given}, but the kernel has no [[threadgroup(0)]]"
    if given % 16:
        yield f"threadgroup_bytes is {given}: Metal wants a multiple of 16"
