"""qr by way of the Gram matrix, where the executor's float64 is fast: the contract, and which way is taken."""

import mlx.core as mx
import numpy as np
import pytest
from oracles.qr import check_contract, exact_qr, strided_views, with_condition

from metalfaiss import _core
from metalfaiss.faissmlx.qr import qr

from .runner import Runner
from .simulator import SCHEDULES, Simulator

HOUSEHOLDER = {"qr_root", "qr_factor"}


def check_way(simulator: Runner, expected: str) -> None:
    """How often A was multiplied by a triangle, and whether Householder's method ran."""
    mx.synchronize()
    kernels = [step.kernel for step in simulator.traffic]
    simulator.traffic.clear()
    if isinstance(simulator, Simulator):  # a GPU does not tell
        assert f"{kernels.count('qr_times')}{' householder' if HOUSEHOLDER & set(kernels) else ''}" == expected


# Around blocks of 32 columns, tiles of 64, slabs of 16 rows, and where it begins: more than 64 columns, or 16 and 32768
# entries. More than one split of the rows, more columns than rows.
SHAPES = [(66, 65), (65, 65), (300, 66), (128, 128), (200, 130), (2048, 16), (1100, 31), (1030, 33), (70, 130)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_numpy_in_float64(products: Runner, rng: np.random.Generator, shape: tuple[int, int]) -> None:
    a = with_condition(rng, *shape, 10)
    q, r = qr(mx.array(a))
    check_contract(a, q, r)
    check_way(products, "1")
    want_q, want_r = exact_qr(a)
    np.testing.assert_allclose(np.array(q), want_q, atol=2e-5)
    np.testing.assert_allclose(np.array(r), want_r, atol=2e-5)


@pytest.mark.parametrize("shape", [(2047, 16), (4000, 8), (500, 64), (9, 40)], ids=str)
def test_where_it_does_not_begin(products: Runner, rng: np.random.Generator, shape: tuple[int, int]) -> None:
    check_contract(a := with_condition(rng, *shape, 10), *qr(mx.array(a)))
    check_way(products, "0 householder")


# On pairs of float32, whose errors are 3e-14 where float64's are 1e-16.
@pytest.mark.parametrize(
    ("condition", "expected"), [(1e2, "1"), (1e5, "2"), (1e7, "0 householder"), (1e10, "0 householder")]
)
def test_condition_numbers(products: Runner, rng: np.random.Generator, condition: float, expected: str) -> None:
    a = with_condition(rng, 130, 70, condition)
    check_contract(a, *qr(mx.array(a)))
    check_way(products, expected)


def difficult(m: int, n: int) -> dict[str, np.ndarray]:
    a = np.random.default_rng(9).standard_normal((m, n)).astype(np.float32)
    kahan = np.zeros((m, n))
    kahan[:n] = np.diag(np.sin(1.2) ** np.arange(n)) @ (np.eye(n) - np.cos(1.2) * np.triu(np.ones((n, n)), 1))
    return {
        "zero": np.zeros((m, n), np.float32),
        "identity": np.eye(m, n, dtype=np.float32),
        "rank three": (a[:, :3] @ a[:3]).astype(np.float32),
        "zero columns": np.where(np.arange(n) % 3 == 0, 0, a).astype(np.float32),
        "late rows": np.where(np.arange(m)[:, None] < m // 2, 0, a).astype(np.float32),
        "graded": (a * np.logspace(0, -20, n)).astype(np.float32),
        "small": a * np.float32(1e-30),
        "large": a * np.float32(1e30),
        "kahan": kahan.astype(np.float32),
        "nearly one": (1 + 1e-6 * a).astype(np.float32),
    }


@pytest.mark.parametrize("name", list(difficult(3, 3)))
def test_contract_for_difficult_ones(products: Runner, name: str) -> None:
    a = difficult(150, 75)[name]
    check_contract(a, *qr(mx.array(a)))


# Edits of the kernels that make another decision, for a matrix that needs one pass.
AGAIN = ("= loss > ONE_PASS", "= loss > 0.0f")
DECISIONS = {
    "two passes": ([AGAIN], "2"),
    "neither": ([("#define TWO_PASSES 2e-3f", "#define TWO_PASSES 0.0f")], "0 householder"),
    "a pivot vanishes": ([("#define SMALLEST_PIVOT 1e-15f", "#define SMALLEST_PIVOT 1.0f")], "0 householder"),
    "the second fails": ([AGAIN, ("is_good = distance <=", "is_good = !p.again && distance <=")], "1 householder"),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_every_way_keeps_the_contract(rng: np.random.Generator, decision: str) -> None:
    edits, expected = DECISIONS[decision]
    families: set[str] = set()

    def edit(family: str, source: str) -> str:
        families.add(family)
        for old, new in edits:
            assert family != "qr_cholesky" or old in source
            source = source.replace(old, new)
        return source

    simulator = Simulator(edit=edit, multiplies=True)
    a = rng.standard_normal((150, 70)).astype(np.float32)
    with simulator.active(_core):
        check_contract(a, *qr(mx.array(a)))
    simulator.check()
    assert "qr_cholesky" in families
    check_way(simulator, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(products: Runner, rng: np.random.Generator, bad: float) -> None:
    a = rng.standard_normal((150, 70)).astype(np.float32)
    a[77, 3] = bad
    q, r = (np.array(x) for x in qr(mx.array(a)))
    assert np.isnan(q).all()
    assert np.isnan(r[np.triu_indices(70)]).all()
    assert (np.tril(r, -1) == 0).all()


def test_strides(products: Runner, rng: np.random.Generator) -> None:
    for view, want in strided_views(rng, (150, 210)):
        check_contract(want, *qr(view))


def test_same_bits_in_any_order_of_threads(products: Runner, rng: np.random.Generator) -> None:
    for condition in (10, 1e5):
        a = mx.array(with_condition(rng, 140, 70, condition))
        results = []
        for products.schedule in SCHEDULES:
            results.append(qr(a))
            mx.eval(results[-1])
        for q, r in results[1:]:
            assert mx.array_equal(q, results[0][0])
            assert mx.array_equal(r, results[0][1])
