"""How many bytes kernels move, beside how many they must: a table in a file, compared by tests/metal/test_traffic.py.

A module of this package is about the operations of one family and has a list CASES:

    CASES = [Case("gemm_av float32 (2048, 64) x (64, 16)", run, ("input 0",), 4 * 2048 * 64, 1.1)]

The bytes of a memory in a launch are those that a GPU moves whose cache forgets nothing within a threadgroup and
everything between threadgroups: for each threadgroup, the distinct bytes that it reads without having written them
before, and the distinct bytes that it writes. The table keeps what threads asked for as well ("issued"), where every
lane counts, also those of a simdgroup that read one address together.

    python -m tests.metal.traffic --write
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["TABLE", "Case", "cases", "measure", "stored"]

TABLE = Path(__file__).resolve().parent / "table.json"


@dataclass(frozen=True)
class Case:
    """An operation on arrays of one shape, and what may move."""

    name: str  # operation, dtype, shapes
    run: Callable[[], None]  # builds the arrays, calls the operation once and evaluates it
    operands: tuple[str, ...]  # the memories that the ceiling is about: "input 0", "scratch 1", ...
    minimum: int  # their bytes that must move at least
    ceiling: float  # how often that at most
    multiplies: bool = False  # whether it is for a GPU with tensor cores: see Runner


def cases() -> list[Case]:
    """All cases of this package's modules, by name."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    found = [c for name in modules for c in importlib.import_module(f"{__name__}.{name}").CASES]
    return sorted(found, key=lambda c: c.name)


def measure(case: Case) -> dict[str, Any]:
    """The case's row of the table. Raises AssertionError for findings."""
    from metalfaiss import _core

    from ..simulator import Simulator

    simulator = Simulator(multiplies=case.multiplies)
    with simulator.active(_core):
        case.run()
    simulator.check()
    moved: dict[str, dict[str, int]] = {}
    for step in simulator.traffic:
        for label, counters in step.bytes.items():
            row = moved.setdefault(label, dict.fromkeys(counters._fields, 0))
            for name, value in counters._asdict().items():
                row[name] += value
    ours = sum(moved[label]["read"] + moved[label]["written"] for label in case.operands if label in moved)
    return {
        "case": case.name,
        "kernels": list(dict.fromkeys(step.kernel for step in simulator.traffic)),
        "operands": list(case.operands),
        "minimum": case.minimum,
        "moved": ours,
        "ratio": round(ours / case.minimum, 4),
        "ceiling": case.ceiling,
        "bytes": {label: moved[label] for label in sorted(moved)},
    }


def stored() -> dict[str, dict[str, Any]]:
    """The rows of the file, by case."""
    rows = json.loads(TABLE.read_text(encoding="ascii")) if TABLE.exists() else []
    return {row["case"]: row for row in rows}
