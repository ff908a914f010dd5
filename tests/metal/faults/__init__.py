"""Planted faults: edits of the project's own kernels, each of which the simulator must find.

A module of this package is about the kernels of one family and has a list FAULTS:

    FAULTS = [
        Fault("dropped_barrier", "gemm", "  threadgroup_barrier(mem_flags::mem_threadgroup);  // tile\n", "", odd_shape, "race.*tile"),
    ]

The edit is made in the flattened source (metal/<family>.metal with metal/include/ in place) of every launch of that
family. The case runs an operation, evaluates it and compares it with an oracle; it must pass, without findings, on the
kernel as it is.
"""  # noqa: E501

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["WRONG_RESULT", "Fault", "faults"]

# Expected where no check can see the fault: the case itself must fail.
WRONG_RESULT = "wrong result"


@dataclass(frozen=True)
class Fault:
    """A fault: what is planted where, the case that shows it, and the finding that must name it."""

    name: str
    family: str  # metal/<family>.metal
    old: str
    new: str
    case: Callable[[], None]
    expected: str  # a regular expression that a finding matches, or WRONG_RESULT
    count: int = 1  # how often `old` is in the source; all are replaced
    multiplies: bool = False  # whether the case is for a GPU with tensor cores: see Runner


def faults() -> list[Fault]:
    """All faults of this package's modules."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__))
    return [f for name in modules for f in importlib.import_module(f"{__name__}.{name}").FAULTS]
