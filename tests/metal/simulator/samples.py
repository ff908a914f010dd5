"""Plans of the sample kernels, with what they must compute: correct ones, which tests then make wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .steps import Plan

__all__ = ["SAMPLES", "Check"]

# Compares what the plan computed with NumPy.
Check = Callable[[], None]

_TYPES = {"float": np.float32, "half": np.float16}


def sums(dtype: str = "float", rows: int = 3, columns: int = 150) -> tuple[Plan, Check]:
    rng = np.random.default_rng(rows * columns)
    x = rng.standard_normal((rows, columns + 2)).astype(_TYPES[dtype])
    plan = Plan("sums")
    parameters = np.array([columns + 2], np.int64).tobytes() + np.array([columns, rows], np.int32).tobytes()
    plan.launch(
        "sums",
        [(plan.input(x), "read"), (plan.output((rows,), np.float32), "write"), parameters],
        groups=(rows, 1, 1),
        threads=(128, 1, 1),
        threadgroup_bytes=(4 * columns + 15) // 16 * 16,
        constants={"T": dtype},
    )
    return plan, lambda: np.testing.assert_allclose(
        plan.array("output 0"), x[:, :columns].astype(np.float64).sum(1), rtol=1e-5, atol=1e-5
    )


def product(dtype: str = "float", n: int = 13) -> tuple[Plan, Check]:
    rng = np.random.default_rng(n)
    a, b = (rng.standard_normal((n, n)).astype(_TYPES[dtype]) for _ in range(2))
    plan = Plan("product")
    tiles = (n + 7) // 8
    plan.launch(
        "product",
        [
            (plan.input(a), "read"),
            (plan.input(b), "read"),
            (plan.output((n, n), np.float32), "write"),
            np.array([n], np.int32).tobytes(),
        ],
        groups=(tiles, tiles, 1),
        constants={"T": dtype},
    )
    return plan, lambda: np.testing.assert_allclose(
        plan.array("output 0"), a.astype(np.float64) @ b.astype(np.float64), rtol=1e-5, atol=1e-5
    )


def histogram(n: int = 1000) -> tuple[Plan, Check]:
    x = np.random.default_rng(n).integers(0, 64, n).astype(np.uint8)
    plan = Plan("histogram")
    bins, swap, out = plan.scratch(256), plan.scratch(256), plan.output((64,), np.uint32)
    plan.launch("clear_bins", [(bins, "write")], threads=(64, 1, 1))
    plan.launch(
        "count_bins",
        [(plan.input(x), "read"), (bins, "read_write"), np.array([n], np.uint32).tobytes()],
        groups=(3, 1, 1),
        threads=(128, 1, 1),
    )
    plan.launch("scan_bins", [(bins, "read"), (swap, "write"), (out, "write")], threads=(64, 1, 1))

    def check() -> None:
        counts = np.bincount(x, minlength=64)
        np.testing.assert_array_equal(plan.array("output 0"), np.cumsum(counts) - counts)

    return plan, check


def shortest(dtype: str = "float", n: int = 50, quads: int = 3) -> tuple[Plan, Check]:
    x = np.random.default_rng(n).standard_normal((n, 4 * quads)).astype(_TYPES[dtype])
    plan = Plan("vectors")
    out = plan.output((1,), np.dtype([("length", np.float32), ("index", np.uint32)]))
    size = np.array([n, quads], np.uint32).tobytes()
    plan.launch("shortest", [(plan.input(x), "read"), (out, "write"), size], constants={"T4": f"{dtype}4"})

    def check() -> None:
        lengths = (x.astype(np.float64) ** 2).sum(1)
        hit = plan.array("output 0")[0]
        assert hit["index"] == lengths.argmin()
        np.testing.assert_allclose(hit["length"], lengths.min(), rtol=1e-5)

    return plan, check


SAMPLES: dict[str, Callable[[], tuple[Plan, Check]]] = {
    "sums": sums,
    "sums_half": lambda: sums("half", 2, 1),
    "product": product,
    "product_half": lambda: product("half", 8),
    "histogram": histogram,
    "shortest": shortest,
    "shortest_half": lambda: shortest("half", 31, 1),
}
