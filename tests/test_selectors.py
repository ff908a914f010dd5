"""Selectors against FAISS's and against sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import IndexFlatIP, IndexFlatL2, SearchParameters

N = 300
rng = np.random.default_rng(7)
CLOSE = rng.choice(N, 60, replace=False)
FAR = np.concatenate([CLOSE[:20], np.array([-(2**63), 2**63 - 1, -5, 10**15]), rng.integers(0, 2**62, 500)])
PROBES = np.concatenate([np.arange(-70, N + 70), FAR, FAR + 1])
BITS = rng.random(N) < 0.3
PACKED = np.packbits(BITS, bitorder="little")

SELECTORS: dict[str, Callable[[Any], Any]] = {
    "all": lambda f: f.IDSelectorAll(),
    "range": lambda f: f.IDSelectorRange(20, 130),
    "empty_range": lambda f: f.IDSelectorRange(130, 130),
    "batch": lambda f: f.IDSelectorBatch(CLOSE),
    "batch_far": lambda f: f.IDSelectorBatch(FAR),
    "batch_empty": lambda f: f.IDSelectorBatch(np.zeros(0, np.int64)),
    "array": lambda f: f.IDSelectorArray(CLOSE),
    "bitmap": lambda f: f.IDSelectorBitmap(PACKED),
    "not": lambda f: f.IDSelectorNot(f.IDSelectorBatch(CLOSE)),
    "and": lambda f: f.IDSelectorAnd(f.IDSelectorRange(20, 200), f.IDSelectorBatch(CLOSE)),
    "or": lambda f: f.IDSelectorOr(f.IDSelectorRange(20, 50), f.IDSelectorBatch(CLOSE)),
    "xor": lambda f: f.IDSelectorXOr(f.IDSelectorRange(20, 200), f.IDSelectorBatch(CLOSE)),
}


@pytest.fixture(params=SELECTORS)
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    make = SELECTORS[request.param]
    return make(metalfaiss), make(faiss)


def test_members_are_those_of_faiss(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    expected = np.array([theirs.is_member(int(i)) for i in PROBES])
    np.testing.assert_array_equal(ours._members(PROBES), expected)
    assert [ours.is_member(int(i)) for i in PROBES[::37]] == expected[::37].tolist()
    np.testing.assert_array_equal(ours._native.positions(N), [i for i in range(N) if theirs.is_member(i)])
    assert ours._native.positions(0).size == 0


@pytest.mark.parametrize("kind", [IndexFlatL2, IndexFlatIP])
def test_search_of_the_selected(both: tuple[Any, Any], kind: Any) -> None:
    ours, theirs = both
    xb, xq = rng.standard_normal((N, 12), dtype=np.float32), rng.standard_normal((5, 12), dtype=np.float32)
    index, oracle = kind(12), getattr(faiss, kind.__name__)(12)
    index.add(xb)
    oracle.add(xb)
    D, I = index.search(xq, 9, params=SearchParameters(sel=ours))
    D_faiss, I_faiss = oracle.search(xq, 9, params=faiss.SearchParameters(sel=theirs))
    np.testing.assert_array_equal(I, I_faiss)
    np.testing.assert_allclose(D, D_faiss, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "predicate",
    [lambda i: i % 3 == 0, np.arange(N) % 3 == 0, np.arange(0, N, 3), np.arange(0, N, 3, dtype=np.uint16)],
    ids=["callable", "booleans", "ids", "unsigned"],
)
def test_predicates(predicate: Any) -> None:
    xb = rng.standard_normal((N, 4), dtype=np.float32)
    index = IndexFlatL2(4)
    index.add(xb)
    expected = index.search(xb, 5, params=SearchParameters(sel=metalfaiss.IDSelectorBatch(np.arange(0, N, 3))))
    for sel in (predicate, metalfaiss.IDSelectorNot(metalfaiss.IDSelectorNot(predicate))):
        for ours, theirs in zip(index.search(xb, 5, params=SearchParameters(sel=sel)), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_callback_is_asked_about_the_ids_of_the_index() -> None:
    asked: list[int] = []
    index = IndexFlatL2(4)
    index.add(np.eye(4, dtype=np.float32))
    sel = metalfaiss.PyCallbackIDSelector(lambda i: bool(asked.append(i)) or i == 2)
    _, I = index.search(np.eye(4, dtype=np.float32), 2, params=SearchParameters(sel=sel))
    assert asked == [0, 1, 2, 3]
    np.testing.assert_array_equal(I, [[2, -1]] * 4)
    assert sel.is_member(2)
    assert not metalfaiss.IDSelectorNot(sel)._bound(np.arange(4)).is_member(2)


def test_translated() -> None:
    id_map = rng.permutation(1000)[:50]
    ours = metalfaiss.IDSelectorTranslated(id_map, metalfaiss.IDSelectorRange(100, 600))
    expected = [i for i in range(50) if 100 <= id_map[i] < 600]
    np.testing.assert_array_equal(ours._native.positions(50), expected)
    np.testing.assert_array_equal(np.flatnonzero(ours._members(np.arange(-3, 60))) - 3, expected)
    called = metalfaiss.IDSelectorTranslated(id_map, lambda i: 100 <= i < 600)
    np.testing.assert_array_equal(called._native.positions(50), expected)


def test_fields_and_forms_of_faiss() -> None:
    sel = metalfaiss.IDSelectorRange(3, 9)
    assert (sel.imin, sel.imax) == (3, 9)
    assert metalfaiss.IDSelectorNot(sel).sel is sel
    pair = metalfaiss.IDSelectorAnd(sel, metalfaiss.IDSelectorAll())
    assert pair.lhs is sel
    assert isinstance(pair.rhs, metalfaiss.IDSelectorAll)
    assert metalfaiss.IDSelectorBatch(2, np.array([5, 6, 7]))._native.positions(10).tolist() == [5, 6]
    params = SearchParameters(sel=sel)
    assert params.sel is sel
    params.sel = None
    assert params.sel is None


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (TypeError, lambda: metalfaiss.IDSelectorBatch(np.array([0.5]))),
        (ValueError, lambda: metalfaiss.IDSelectorBatch(np.array([[1]]))),
        (ValueError, lambda: metalfaiss.IDSelectorBatch(4, np.array([1]))),
        (TypeError, lambda: metalfaiss.IDSelectorBatch()),
        (TypeError, lambda: metalfaiss.IDSelectorRange(0.5, 3)),
        (TypeError, lambda: metalfaiss.IDSelectorNot("all")),
        (TypeError, lambda: metalfaiss.PyCallbackIDSelector(3)),
        (TypeError, lambda: metalfaiss.SearchParameters(sel=3)),
        (TypeError, lambda: metalfaiss.PyCallbackIDSelector(bool)._native),
    ],
)
def test_errors(error: type[Exception], make: Callable[[], object]) -> None:
    with pytest.raises(error, match=r"^\[\w+\] .+ Received .+\.$"):
        make()


def test_filtered_search_in_transforms() -> None:
    xb, xq = rng.standard_normal((N, 6), dtype=np.float32), rng.standard_normal((4, 6), dtype=np.float32)
    index = IndexFlatL2(6)
    index.add(xb)
    params = SearchParameters(sel=metalfaiss.IDSelectorBatch(CLOSE))
    D, I = index.search(xq, 3, params=params)

    def total(x: mx.array) -> mx.array:
        return index.search(x, 3, params=params)[0].sum()

    expected = (2 * (xq[:, None] - xb[I])).sum(1)
    np.testing.assert_allclose(np.array(mx.grad(total)(mx.array(xq))), expected, rtol=1e-4, atol=1e-4)
    compiled = mx.compile(lambda x: index.search(x, 3, params=params))
    np.testing.assert_array_equal(np.array(compiled(mx.array(xq))[1]), I)
    mapped = mx.vmap(lambda x: index.search(x, 3, params=params))(mx.array(xq.reshape(2, 2, 6)))
    np.testing.assert_array_equal(np.array(mapped[0]).reshape(4, 3), D)


@pytest.mark.parametrize("nq", [1, 30])
def test_selected_rows_lie_where_they_are(nq: int, simd_level: str) -> None:
    xb, xq = rng.standard_normal((N, 20), dtype=np.float32), rng.standard_normal((nq, 20), dtype=np.float32)
    for dtype in (mx.float32, mx.float16):
        index = IndexFlatL2(20, dtype=dtype)
        for part in np.array_split(xb, [250, 280]):
            index.add(part)
        copied = IndexFlatL2(20, dtype=dtype)
        copied.add(xb[BITS])
        D, I = index.search(xq, 7, params=SearchParameters(sel=BITS))
        D_copied, I_copied = copied.search(xq, 7)
        np.testing.assert_array_equal(I, np.flatnonzero(BITS)[I_copied])
        np.testing.assert_array_equal(D, D_copied)
