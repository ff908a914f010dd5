"""The simulator computes what MSL says: numbers, vectors, simdgroup operations."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import numpy as np
import pytest

from .simulator import SCHEDULES, Simulator, compiler
from .simulator.steps import Plan

Array = np.ndarray[Any, Any]
X = np.concatenate([[0.1, 1.0, -2.5, 3e-5, 1234.56, -0.75, 7.0, 65000.0], np.linspace(-3, 3, 24)]).astype(np.float32)
LANES = np.arange(32)


def _run(kernel: str, x: Array, rows: int, dtype: Any, schedule: str = "forward", **launch: Any) -> Array:
    plan = Plan("language")
    plan.launch(kernel, [(plan.input(x), "read"), (plan.output((rows, 32), dtype), "write")], **launch)
    simulator = Simulator(schedule)
    simulator(plan.steps)
    simulator.check()
    return plan.array("output 0")


def _bfloat(x: Array) -> Array:
    """Rounds to nearest, ties to even."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def test_numbers() -> None:
    out = _run("numbers", X, 10, np.float32)
    a, b = X, X[::-1].copy()
    with np.errstate(over="ignore"):
        h, g = a.astype(np.float16), b.astype(np.float16)
        half = (h * g + h).astype(np.float32)
    e, f = _bfloat(a), _bfloat(b)
    third = np.float32(1.0) / np.float32(3.0)
    wide = a.astype(np.float64)
    ones = np.float32(1)
    expected = [
        half,
        _bfloat(_bfloat(e * f) + e),
        a * np.float32(0.1) + third,
        (wide * b + wide).astype(np.float32),
        np.sqrt(np.abs(a)) + ones / np.sqrt(np.abs(b) + ones),
        np.minimum(a, b) + 2 * np.maximum(a, b) + np.clip(a, -ones, ones),
        a + b,
        np.where(a < b, b, a) + ones + np.where(b == 0, 0, 2).astype(np.float32),
        np.floor(a) + np.ceil(b) + np.trunc(a) + np.copysign(np.floor(np.abs(b) + 0.5), b),
        h.astype(np.float32) + _bfloat(b),
    ]
    for row, (got, want) in enumerate(zip(out, expected, strict=True)):
        np.testing.assert_array_equal(got, want, err_msg=f"row {row}")


def test_vectors() -> None:
    x = np.stack([X, X[::-1], np.roll(X, 5), np.roll(X, 11)], axis=1)
    out = _run("vectors", x, 6, np.float32)
    b = np.stack([x[:, 3], x[:, 2] + 1, np.full(32, 3, np.float32), x[:, 0]], axis=1)
    wide = (x[:, 3].astype(np.float64) * b[:, 3] + x[:, 3]).astype(np.float32)
    expected = [
        b[:, 0] + 2 * b[:, 1] + 4 * b[:, 2] + 8 * b[:, 3],
        ((x[:, 0] * b[:, 0] + x[:, 1] * b[:, 1]) + x[:, 2] * b[:, 2]) + x[:, 3] * b[:, 3],
        x[:, 2].astype(np.float16).astype(np.float32) + 1.5 + 4,
        np.where((x > b).any(1), 1, 2),
        ((x[:, 0] ** 2 + x[:, 1] ** 2) + x[:, 2] ** 2) - x[:, 0],
        np.minimum(x, b)[:, 0] + np.maximum(x, b)[:, 1] + np.abs(x)[:, 2] + wide,
    ]
    for row, (got, want) in enumerate(zip(out, expected, strict=True)):
        np.testing.assert_array_equal(got, want, err_msg=f"row {row}")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_integers(schedule: str) -> None:
    x = np.random.default_rng(7).integers(1, 2**20, 32).astype(np.uint32)
    out = _run("integers", x, 17, np.uint32, schedule, threads=(8, 4, 1))
    bits = [f"{v:032b}" for v in x]
    clz = np.array([len(b) - len(b.lstrip("0")) for b in bits])
    ctz = np.array([len(b) - len(b.rstrip("0")) for b in bits])
    low = [f"{v & 0xFFFF:016b}" for v in x]
    ballot = sum(1 << i for i in range(32) if x[i] % 3 == 0)
    up, down = np.where(LANES >= 3, np.roll(x, 3), x), np.where(LANES < 29, np.roll(x, -3), x)
    reductions = [np.bitwise_and.reduce(x | 1), np.bitwise_or.reduce(x & 6), np.bitwise_xor.reduce(x)]
    expected = [
        np.array([b.count("1") for b in bits]) + 100 * clz + 10000 * ctz,
        np.array([len(b) - len(b.lstrip("0")) for b in low]) + 800 + 320000,
        np.full(32, x.sum()),
        np.full(32, x.max() - x.min()),
        np.full(32, sum(int(r) for r in reductions)),
        np.cumsum(x) - x,
        np.cumsum(x),
        x[LANES * 7 % 32],
        x[LANES ^ 5],
        up,
        down,
        np.full(32, x[9] + x[0]),
        np.full(32, ballot),
        np.full(32, 5),
        LANES % 8 + 100 * (LANES // 8) + 80000 + 4000000,
        np.abs(LANES - 16) + np.maximum(LANES, 5) + np.array([int(b[::-1], 2) for b in bits]),
        np.roll(x, -3).astype(np.uint64) + np.roll(x, 3),
    ]
    for row, (got, want) in enumerate(zip(out, expected, strict=True)):
        np.testing.assert_array_equal(got, np.asarray(want, np.uint64).astype(np.uint32), err_msg=f"row {row}")


def test_the_order_of_threads_shows_lost_updates() -> None:
    counts = {}
    for schedule in SCHEDULES:
        plan = Plan("language")
        plan.launch("lost_updates", [(plan.output((1,), np.uint32), "read_write")], threads=(64, 1, 1))
        simulator = Simulator(schedule)
        simulator(plan.steps)
        simulator.check()
        counts[schedule] = int(plan.array("output 0")[0])
    assert counts["forward"] == counts["reverse"] == 64
    assert counts["random"] < 64


def test_compiling_one_kernel_twice_at_once() -> None:
    source = f"// {np.random.default_rng().integers(2**62)}\nint x;\n"
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: compiler.compile_kernel("together", source), range(4)))
    assert len(set(paths)) == 1
    assert paths[0].exists()
    paths[0].unlink()
