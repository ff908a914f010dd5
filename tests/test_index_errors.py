"""What every type of index does with input that is wrong, empty, or not finite: one table of types, one of inputs."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss

D = 8
X = np.random.default_rng(0).random((60, D), dtype=np.float32)
FLOAT = [
    "Flat", "IDMap,Flat", "IDMap2,Flat", "PCA4,Flat", "L2norm,Flat", "OPQ2,Flat", "ITQ4,LSH", "Flat,RFlat", "SQ8,RFlat",
    "SQ4", "SQ8", "SQfp16", "SQ8_direct", "LSH", "LSHt", "IVF4,Flat", "IVF4,SQ8", "IVF4,SQfp16", "IDMap,IVF4,Flat",
    "PCA4,IVF4,SQ8", "IVF4(IVF2,Flat),Flat", "HR,SQ8", "Pad12,Flat",
]  # fmt: skip
BINARY = ["BFlat", "BIVF4", "IDMap,BFlat", "IDMap2,BIVF4"]
OTHERS = {"1D": metalfaiss.IndexFlat1D, "shards": metalfaiss.IndexShards, "replicas": metalfaiss.IndexReplicas}


def made(kind: str, *, filled: bool = True) -> Any:
    rows = np.repeat(X, 6, axis=0) if kind.startswith("OPQ") else X
    if kind in BINARY:
        index = metalfaiss.index_binary_factory(8 * D, kind)
        rows = (rows * 255).astype(np.uint8)
    elif kind in OTHERS:
        index = OTHERS[kind](*([D] if kind != "1D" else []))
        for _ in range(2 * (kind == "shards") + 2 * (kind == "replicas")):
            (index.add_shard if kind == "shards" else index.add_replica)(metalfaiss.IndexFlatL2(D))
        rows = rows[:, : index.d]
    else:
        index = metalfaiss.index_factory(D, kind)
    index.train(rows)
    rows = rows[:60]
    if filled and "IDMap" in kind:
        index.add_with_ids(rows, np.arange(60))
    elif filled:
        index.add(rows)
    return index


def rows_for(index: Any, n: int = 3) -> np.ndarray:
    if isinstance(index, metalfaiss.IndexBinary):
        return (X[:n] * 255).astype(np.uint8)
    return X[:n, : index.d].copy()


def state(index: Any) -> Any:
    return index.ntotal, [a.tobytes() for a in index.search(rows_for(index, 5), 4)]


ALL = [*FLOAT, *BINARY, *OTHERS]


@pytest.fixture(scope="module", params=ALL)
def index(request: pytest.FixtureRequest) -> Any:
    return made(request.param)


def test_more_results_than_vectors(index: Any) -> None:
    D_, I = index.search(rows_for(index), 100)
    binary = isinstance(index, metalfaiss.IndexBinary)
    found = (I >= 0).sum(axis=1)
    assert D_.shape == I.shape == (3, 100)
    assert (found >= 1).all()
    assert (found <= 60).all()
    for d, i, n in zip(D_, I, found, strict=True):
        assert (i[n:] == -1).all()
        assert len(set(i[:n].tolist())) == n
        assert (d[n:] == (2**31 - 1 if binary else np.inf if index.d == 1 else np.finfo(np.float32).max)).all()
    assert np.array_equal(np.sort(D_, axis=1), D_)


def test_no_queries_and_no_vectors(index: Any) -> None:
    none = rows_for(index)[:0]
    before = state(index)
    assert [a.shape for a in index.search(none, 4)] == [(0, 4), (0, 4)]
    if not isinstance(index, metalfaiss.IndexShards):  # whose second add would give other ids to what is there
        index.add_with_ids(none, np.empty(0, np.int64)) if hasattr(index, "id_map") else index.add(none)
    assert index.remove_ids(np.empty(0, np.int64)) == 0 if supports_removal(index) else True
    assert state(index) == before


def supports_removal(index: Any) -> bool:
    try:
        index.remove_ids(np.empty(0, np.int64))
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("kind", ALL)
def test_an_empty_index(kind: str) -> None:
    empty = made(kind, filled=False)
    _, I = empty.search(rows_for(empty), 2)
    assert (I == -1).all()
    assert empty.ntotal == 0
    if kind not in ("Flat,RFlat", "SQ8,RFlat"):
        assert empty.range_search(rows_for(empty), 5)[0].tolist() == [0] * 4
    empty.reset()
    assert empty.ntotal == 0


def test_wrong_arguments(index: Any) -> None:
    """Each raises in the house's form and leaves the index as it was."""
    x, before = rows_for(index), state(index)
    ids = np.arange(3)
    wide, binary = np.concatenate([x, x], axis=1), isinstance(index, metalfaiss.IndexBinary)
    with_ids = hasattr(index, "id_map")
    cases: list[tuple[type[Exception], Any]] = [
        (ValueError, lambda: index.search(wide, 2)),
        (ValueError, lambda: index.search(x[0], 2)),
        (ValueError, lambda: index.search(x[None], 2)),
        (ValueError, lambda: index.search(x, 0)),
        (ValueError, lambda: index.search(x, -1)),
        (TypeError, lambda: index.search(x, 1.5)),
        (TypeError, lambda: index.search(x.tolist(), 2)),
        (TypeError, lambda: index.search(x.astype(np.complex64), 2)),
        (TypeError, lambda: index.search(x, 2, params=3)),
        (ValueError, lambda: index.range_search(wide, 1)),
        (TypeError, lambda: index.range_search(x, "near")),
        (ValueError, lambda: index.train(wide)),
        (ValueError, lambda: index.add_with_ids(wide, ids) if with_ids else index.add(wide)),
        (TypeError, lambda: index.add_with_ids(x.astype(complex), ids) if with_ids else index.add(x.astype(complex))),
        (ValueError if with_ids else (ValueError, RuntimeError), lambda: index.add_with_ids(x, ids[:2])),
        (TypeError if with_ids else (TypeError, RuntimeError), lambda: index.add_with_ids(x, ids.astype(float))),
        ((TypeError, RuntimeError), lambda: index.remove_ids("all")),
        ((ValueError, RuntimeError), lambda: index.reconstruct(10**6)),
        ((ValueError, RuntimeError), lambda: index.reconstruct(2**63)),
        (AttributeError, lambda: setattr(index, "nprob", 3)),
    ]  # type: ignore[list-item]
    if binary:
        cases.append((TypeError, lambda: index.search(x.astype(np.float32), 2)))
    for number, (error, call) in enumerate(cases):
        with pytest.raises(error, match=r"^\[") as raised:
            call()
        assert "Received" in str(raised.value), (number, str(raised.value))
    assert state(index) == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [*FLOAT, *OTHERS])
def test_values_that_are_not_finite(kind: str, bad: float) -> None:
    """A query with one finds nothing or something, but ids that exist, once each, and no NaN; other queries, and other
    stored vectors, are not touched by it."""
    index = made(kind)
    x = rows_for(index, 6)
    x[2, 0] = bad
    D_, I = index.search(x, 5)
    assert not np.isnan(D_).any()
    assert ((I >= -1) & (I < 60)).all()
    assert all(len(set(row[row >= 0].tolist())) == (row >= 0).sum() for row in I)
    clean = np.delete(np.arange(6), 2)
    for found, wanted in zip(index.search(x[clean], 5), (D_[clean], I[clean]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    lims, dists, _ = index.range_search(x, 0.5)
    assert not np.isnan(dists).any()
    assert lims.shape == (7,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["Flat", "IDMap,Flat", "IVF4,Flat", "1D", "shards", "replicas", "Flat,RFlat"])
def test_stored_values_that_are_not_finite(kind: str, bad: float) -> None:
    index = made(kind, filled=False)
    rows = X[:, : index.d].copy()
    rows[7] = bad
    index.add_with_ids(rows, np.arange(60)) if "IDMap" in kind else index.add(rows)
    if kind == "IVF4,Flat":
        index.nprobe = 4
    D_, I = index.search(X[:9, : index.d].copy(), 60)
    assert 7 not in I[np.arange(9) != 7]
    assert not np.isnan(D_).any()


@pytest.mark.parametrize("kind", ["IDMap,Flat", "IDMap2,BIVF4", "IDMap,BFlat"])
def test_vectors_without_ids(kind: str) -> None:
    """Vectors that were added past an index that maps ids: their ids would be read beyond its table."""
    index = made(kind)
    index.index.add(rows_for(index))
    for call in (index.search, index.range_search):
        with pytest.raises(RuntimeError, match=r"Every vector inside must have an id. Received 63 vectors and 60"):
            call(rows_for(index), 2)
    metalfaiss.copy_array_to_vector(np.arange(63), index.id_map)
    assert index.search(rows_for(index), 2)[1].max() < 63


@pytest.mark.parametrize("kind", ["IDMap,IVF4,Flat", "IDMap2,BIVF4"])
def test_ids_that_are_not_in_the_table(kind: str) -> None:
    index = made(kind)
    rows = rows_for(index)
    index.index.remove_ids(np.array([0, 1, 2]))
    index.index.add_with_ids(rows, np.array([60, -7, 2**40]))
    index.index.nprobe = 4
    I = index.search(rows, 60)[1]
    assert set(I.reshape(-1).tolist()) <= {-1, *index._ids().tolist()}
    lims, _, ids = index.range_search(rows, 65 if rows.dtype == np.uint8 else 1e9)
    assert lims[-1] == 180
    assert (ids == -1).sum() == 9


@pytest.mark.parametrize(
    ("kind", "inner"), [("IDMap,Flat", "index"), ("IDMap,BFlat", "index"), ("Flat,RFlat", "base_index")]
)
def test_an_addition_that_fails_within(kind: str, inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids, or the vectors to refine with, are there first; they go again."""
    index = made(kind)
    rows, before = rows_for(index), state(index)

    def fails(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as m:
        m.setattr(getattr(index, inner), "_add", fails)
        with pytest.raises(MemoryError):
            index.add_with_ids(rows, np.arange(3)) if "IDMap" in kind else index.add(rows)
    assert state(index) == before


def test_refined_distances_that_are_not_finite() -> None:
    index = made("SQ8,RFlat", filled=False)
    rows = X.copy()
    rows[7, 0] = np.inf
    index.add(rows)
    D_, I = index.search(np.ones((1, D), np.float32), 60)
    assert np.isfinite(D_).all()
    assert 7 not in I
    assert (I[0, -1], D_[0, -1]) == (-1, np.finfo(np.float32).max)


@pytest.mark.parametrize("scale", [np.nan, np.inf, 1e30])
def test_training_of_values_without_a_finite_covariance(scale: float) -> None:
    with pytest.raises(RuntimeError, match=r"\[PCAMatrix.train\] x must have a finite covariance"):
        metalfaiss.PCAMatrix(D, 4).train((X - 0.5) * np.float32(scale))


@pytest.mark.parametrize("kind", ["PCA4,Flat", "SQ8", "LSHt", "IVF4,Flat", "IVF4,SQ8", "ITQ4,LSH", "BIVF4"])
def test_not_trained(kind: str) -> None:
    make = metalfaiss.index_binary_factory if kind in BINARY else metalfaiss.index_factory
    index = make(8 * D if kind in BINARY else D, kind)
    for call in (lambda: index.add(rows_for(index)), lambda: index.search(rows_for(index), 1)):
        with pytest.raises(RuntimeError, match="must be trained"):
            call()
    lazy = mx.array(rows_for(index))
    with pytest.raises(RuntimeError, match="must be trained"):
        index.search(lazy, 1)
