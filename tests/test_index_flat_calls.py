"""Calls of flat indexes: results, attributes, copies, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest
from oracles.flat import WORST, built, normal, raises, small_chunks

import metalfaiss
from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, IndexFlat, IndexFlatIP, IndexFlatL2, index_factory
from metalfaiss.indexes import base

__all__ = ["small_chunks"]


def test_queries_choose_the_kind_of_the_results() -> None:
    x = normal(20, 4)
    ours, mixed = built(IndexFlatL2, x), IndexFlatL2(4)
    mixed.add(mx.array(x))
    for index in (ours, mixed):
        D, I = index.search(x[:2], 3)
        assert type(D) is type(I) is type(index.assign(x[:2], 3)) is np.ndarray
        lazy, _ = index.search(mx.array(x[:2]), 3)
        assert isinstance(lazy, mx.array)
        np.testing.assert_array_equal(D, np.array(lazy))
    assert isinstance(ours.reconstruct(0), np.ndarray)
    assert isinstance(mixed.reconstruct(0), mx.array)
    mixed.reset()
    mixed.add(x)
    assert isinstance(mixed.reconstruct(0), np.ndarray)


def test_results_are_the_callers() -> None:
    index = built(IndexFlatL2, normal(20, 4))
    for array in (*index.search(normal(2, 4), 3), index.reconstruct(1), index.reconstruct_n()):
        assert array.flags.writeable
        assert array.flags.c_contiguous
        array[:] = 0
    np.testing.assert_array_equal(index.reconstruct_n(), normal(20, 4))


def test_stored_vectors_are_the_indexs() -> None:
    x, lazy = normal(20, 4), mx.array(normal(20, 4))
    ours, theirs = built(IndexFlatL2, x), IndexFlatL2(4)
    theirs.add(lazy)
    x[0], lazy[0] = 7, 7
    lazy += 1
    np.testing.assert_array_equal(ours.reconstruct_n(), normal(20, 4))
    np.testing.assert_array_equal(np.array(theirs.reconstruct_n()), normal(20, 4))


def test_output_arrays() -> None:
    x = normal(20, 4)
    index = built(IndexFlatL2, x)
    D, I = np.empty((3, 5), np.float32), np.empty((6, 5), np.int64)[::2]
    got = index.search(x[:3], 5, D=D, I=I)
    assert got[0] is D
    assert got[1] is I
    labels = np.empty((3, 5), np.int64)
    assert index.assign(x[:3], 5, labels) is labels
    for ours, wanted in zip((D, I, labels), (*index.search(x[:3], 5), index.assign(x[:3], 5)), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    one, several, batch = np.empty(4, np.float32), np.empty((2, 4), np.float32), np.empty((2, 4), np.float32)
    assert index.reconstruct(3, one) is one
    assert index.reconstruct_n(3, 2, several) is several
    assert index.reconstruct_batch([3, 4], batch) is batch
    np.testing.assert_array_equal(one, x[3])
    np.testing.assert_array_equal(several, x[3:5])
    np.testing.assert_array_equal(batch, x[3:5])


def test_empty() -> None:
    for index in (IndexFlatL2(4), IndexFlatIP(4, dtype=mx.bfloat16)):
        D, I = index.search(normal(2, 4), 3)
        assert (I == -1).all()
        assert np.equal(D, WORST[index.metric_type]).all()
        index.add(normal(0, 4))
        index.add(mx.zeros((0, 4)))
        assert index.ntotal == 0
        assert index.reconstruct_n().shape == (0, 4)
        index.add(normal(5, 4))
        D, I = index.search(normal(0, 4), 3)
        assert D.shape == I.shape == (0, 3)
        assert index.assign(normal(0, 4), 2).shape == (0, 2)
        assert index.reconstruct_batch([]).shape == (0, 4)
        index.add(normal(0, 4))
        assert index.ntotal == 5


# ------------------------------------------------------------------------------------------- interface


def test_attributes() -> None:
    index = IndexFlatL2(8)
    assert (index.d, index.ntotal, index.is_trained, index.metric_type) == (8, 0, True, METRIC_L2)
    assert (index.metric_arg, index.verbose, index.dtype, index.code_size) == (0.0, False, mx.float32, 32)
    assert IndexFlatIP(8).metric_type == IndexFlat(8, METRIC_INNER_PRODUCT).metric_type == METRIC_INNER_PRODUCT
    assert IndexFlat(np.int64(8)).metric_type == METRIC_L2
    assert METRIC_L2 == faiss.METRIC_L2
    assert METRIC_INNER_PRODUCT == faiss.METRIC_INNER_PRODUCT
    index.verbose = True
    index.train(normal(3, 8))
    assert index.ntotal == 0
    with pytest.raises(AttributeError):
        index.nprobe = 3  # as in FAISS, a misspelt setting does not pass
    assert not hasattr(index, "__len__")


def test_isinstance() -> None:
    assert issubclass(IndexFlatL2, IndexFlat)
    assert isinstance(IndexFlatIP(2), metalfaiss.Index)


def test_repr() -> None:
    index = built(IndexFlatL2, normal(3, 8))
    assert repr(index) == "IndexFlatL2(8, dtype=mlx.core.float32, ntotal=3)"
    assert repr(IndexFlat(2, METRIC_INNER_PRODUCT, dtype=mx.float16)) == (
        "IndexFlat(2, METRIC_INNER_PRODUCT, dtype=mlx.core.float16, ntotal=0)"
    )


def test_reset() -> None:
    index = built(IndexFlatL2, normal(30, 4))
    index.reset()
    assert index.ntotal == 0
    assert (index.search(normal(1, 4), 2)[1] == -1).all()
    index.add(normal(3, 4))
    assert index.search(normal(1, 4), 1)[1].tolist() == [[0]]


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda index: pickle.loads(pickle.dumps(index))], ids=["c", "d", "p"]
)
def test_copies(duplicate: Callable[[Any], Any], dtype: mx.Dtype) -> None:
    index = built(IndexFlatIP, normal(30, 4), dtype=dtype)
    index.add(mx.multiply(mx.array(normal(2, 4)), 2))
    index.verbose = True
    other = duplicate(index)
    assert type(other) is IndexFlatIP
    assert repr(other) == repr(index)
    assert other.verbose
    for ours, wanted in zip(other.search(normal(3, 4), 5), index.search(normal(3, 4), 5), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    other.add(normal(4, 4))
    assert (index.ntotal, other.ntotal) == (32, 36)
    index.reset()
    assert other.ntotal == 36


def test_reconstruct_batch_of_lazy_ids() -> None:
    x = normal(20, 4)
    index = IndexFlatL2(4)
    for part in np.split(x, [18]):
        index.add(part)
    got = np.array(index.reconstruct_batch(mx.array([19, -1, 0, 20, 17])))
    np.testing.assert_array_equal(got[[0, 2, 4]], x[[19, 0, 17]])
    assert np.isnan(got[[1, 3]]).all()


# ---------------------------------------------------------------------------------------------- errors


def test_constructor_errors() -> None:
    raises(ValueError, "[IndexFlatL2] d must be at least 1. Received 0.", lambda: IndexFlatL2(0))
    raises(TypeError, "[IndexFlatIP] d must be an int. Received 2.0 of type float.", lambda: IndexFlatIP(2.0))  # type: ignore[arg-type]
    raises(
        ValueError,
        "[IndexFlat] metric must be one of METRIC_INNER_PRODUCT (0), METRIC_L2 (1), METRIC_L1 (2), METRIC_Linf (3), "
        "METRIC_Lp (4), METRIC_Canberra (20), METRIC_BrayCurtis (21), METRIC_JensenShannon (22), METRIC_Jaccard (23), "
        "METRIC_NaNEuclidean (24), METRIC_GOWER (25). Received 5.",
        lambda: IndexFlat(4, 5),
    )
    raises(
        ValueError,
        "[IndexFlatL2] dtype must be mx.float32, mx.float16 or mx.bfloat16. Received mlx.core.int8.",
        lambda: IndexFlatL2(4, dtype=mx.int8),
    )


@pytest.mark.parametrize("method", ["train", "add", "search", "assign"])
@pytest.mark.parametrize("lazy", [False, True])
def test_shape_and_dtype_errors(method: str, lazy: bool) -> None:
    index = built(IndexFlatL2, normal(9, 128))
    make = mx.array if lazy else np.array
    k = (3,) if method in ("search", "assign") else ()
    op = f"[IndexFlatL2.{method}]"

    def call(x: object) -> Callable[[], object]:
        return lambda: getattr(index, method)(x, *k)

    raises(ValueError, f"{op} x must have shape (n, 128). Received (3, 64).", call(make(normal(3, 64))))
    raises(ValueError, f"{op} x must have shape (n, 128). Received (128,).", call(make(normal(128))))
    raises(ValueError, f"{op} x must have shape (n, 128). Received (1, 2, 128).", call(make(normal(1, 2, 128))))
    complex64 = "mlx.core.complex64" if lazy else "complex64"
    raises(
        TypeError, f"{op} x must hold real numbers. Received {complex64}.", call(make(np.ones((2, 128), np.complex64)))
    )
    raises(
        TypeError, f"{op} x must be a numpy.ndarray or an mlx.core.array. Received list.", call(normal(2, 128).tolist())
    )
    if not lazy:
        raises(TypeError, f"{op} x must hold real numbers. Received object.", call(np.full((2, 128), None)))
    assert index.ntotal == 9


@pytest.mark.parametrize("method", ["search", "assign"])
def test_k_errors(method: str) -> None:
    search = getattr(built(IndexFlatL2, normal(9, 4)), method)
    op = f"[IndexFlatL2.{method}]"
    raises(ValueError, f"{op} k must be at least 1. Received 0.", lambda: search(normal(2, 4), 0))
    raises(ValueError, f"{op} k must be at least 1. Received -1.", lambda: search(mx.array(normal(2, 4)), -1))
    raises(ValueError, f"{op} k must be at most 2147483647. Received {2**31}.", lambda: search(normal(2, 4), 2**31))
    raises(TypeError, f"{op} k must be an int. Received 1.0 of type float.", lambda: search(normal(2, 4), 1.0))
    assert search(normal(2, 4), np.int32(2)) is not None


def test_output_errors() -> None:
    index = built(IndexFlatL2, normal(9, 4))
    x, op = normal(2, 4), "[IndexFlatL2.search]"
    D, I = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int64)
    raises(
        ValueError,
        f"{op} D must have shape (2, 3). Received (2, 4).",
        lambda: index.search(x, 3, D=np.zeros((2, 4), "f4")),
    )
    raises(
        TypeError,
        f"{op} I must be a numpy.ndarray of int64. Received int32.",
        lambda: index.search(x, 3, D=D, I=np.zeros((2, 3), "i4")),
    )
    raises(
        TypeError,
        f"{op} D must be a numpy.ndarray of float32. Received array.",
        lambda: index.search(x, 3, D=mx.zeros((2, 3))),
    )
    raises(
        TypeError,
        f"{op} I must be None for an mlx.core.array x. Received ndarray.",
        lambda: index.search(mx.array(x), 3, I=I),
    )
    raises(
        TypeError,
        f"{op} params must be None, or of SearchParameters. Received int.",
        lambda: index.search(x, 3, params=4),
    )
    I.flags.writeable = False
    raises(ValueError, f"{op} I must be writeable. Received a read-only array.", lambda: index.search(x, 3, D=D, I=I))
    assert not D.any()  # nothing is half done


def test_reconstruct_errors() -> None:
    index = built(IndexFlatL2, normal(9, 4))
    op = "[IndexFlatL2.reconstruct"
    raises(ValueError, f"{op}] key must hold ids from 0 to 8. Received 9.", lambda: index.reconstruct(9))
    raises(ValueError, f"{op}] key must hold ids from 0 to 8. Received -1.", lambda: index.reconstruct(-1))
    raises(TypeError, f"{op}] key must be an int. Received '1' of type str.", lambda: index.reconstruct("1"))
    raises(ValueError, f"{op}] x must have shape (4,). Received (3,).", lambda: index.reconstruct(1, np.zeros(3, "f4")))
    raises(ValueError, f"{op}_n] n0 must be at most 9. Received 10.", lambda: index.reconstruct_n(10))
    raises(ValueError, f"{op}_n] ni must be at most 4. Received 5.", lambda: index.reconstruct_n(5, 5))
    raises(ValueError, f"{op}_n] ni must be at least -1. Received -2.", lambda: index.reconstruct_n(5, -2))
    raises(
        ValueError, f"{op}_batch] key must hold ids from 0 to 8. Received 9.", lambda: index.reconstruct_batch([1, 9])
    )
    raises(
        ValueError, f"{op}_batch] key must have shape (n,). Received (1, 1).", lambda: index.reconstruct_batch([[1]])
    )
    raises(TypeError, f"{op}_batch] key must hold integers. Received float64.", lambda: index.reconstruct_batch([1.5]))
    raises(
        ValueError,
        f"{op}] key must hold ids of stored vectors, of which there are none. Received 0.",
        lambda: IndexFlatL2(4).reconstruct(0),
    )


@pytest.mark.parametrize("description", ["Flat", "IVF4,Flat", "SQ8"])
def test_long_searches_are_done_in_parts(description: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    index = index_factory(8, description)
    index.train(x)
    index.add(x)
    wanted = index.search(x, 3)
    monkeypatch.setattr(base, "_LEAST", 70)
    monkeypatch.setattr(base, "_WORK", 1)
    D, I = np.empty((300, 3), np.float32), np.empty((300, 3), np.int64)
    assert index.search(x, 3, D=D, I=I)[0] is D
    np.testing.assert_array_equal(D, wanted[0])
    np.testing.assert_array_equal(I, wanted[1])

    asked, find = [], index._find

    def interrupted(op: str, queries: mx.array, *rest: Any) -> Any:
        asked.append(queries.shape[0])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return find(op, queries, *rest)

    monkeypatch.setattr(index, "_find", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.search(x, 3)
    assert asked == [70, 70, 70]
