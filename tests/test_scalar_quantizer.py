"""ScalarQuantizer and IndexScalarQuantizer: codes byte for byte as FAISS's, and exact search of what they stand for."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import IndexScalarQuantizer, ScalarQuantizer, SearchParameters

TYPES = [
    name for name, value in vars(ScalarQuantizer).items() if name.startswith("QT_") and value < ScalarQuantizer.QT_0bit
]
SCALED = [name for name in TYPES if name[3:7] in ("8bit", "4bit", "6bit") and "direct" not in name]
METRICS = [metalfaiss.METRIC_L2, metalfaiss.METRIC_INNER_PRODUCT]


def vectors(n: int, d: int, name: str = "QT_8bit", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if "direct" in name:
        return rng.integers(0, 256, (n, d)).astype(np.float32) - (128 if "signed" in name else 0)
    return rng.standard_normal((n, d), dtype=np.float32) * 3 + 1


def pair(d: int, name: str) -> tuple[ScalarQuantizer, Any]:
    qtype = getattr(faiss.ScalarQuantizer, name)
    assert getattr(ScalarQuantizer, name) == qtype
    return ScalarQuantizer(d, qtype), faiss.ScalarQuantizer(d, qtype)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("d", [1, 7, 8, 37])
def test_codes_are_those_of_faiss(name: str, d: int, simd_level: str) -> None:
    ours, theirs = pair(d, name)
    x = vectors(300, d, name)
    y = np.concatenate([x[:30], vectors(200, d, name, seed=1) * (1 if "direct" in name else 1.5)])
    ours.train(x)
    theirs.train(x)
    np.testing.assert_array_equal(ours.trained, faiss.vector_to_array(theirs.trained))
    assert (ours.code_size, ours.bits) == (theirs.code_size, theirs.bits)
    codes = ours.compute_codes(y)
    np.testing.assert_array_equal(codes, theirs.compute_codes(y))
    decoded = theirs.decode(codes)
    np.testing.assert_allclose(ours.decode(codes), decoded, rtol=1e-6, atol=1e-5)
    assert mx.array_equal(ours.compute_codes(mx.array(y)), mx.array(codes))
    np.testing.assert_array_equal(np.array(ours.decode(mx.array(codes))), ours.decode(codes))


def train_in_one_thread(theirs: Any, x: np.ndarray) -> None:
    """FAISS's threads race for the ranges of columns: its results vary."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    theirs.train(x)
    faiss.omp_set_num_threads(threads)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize(("stat", "arg"), [(0, 0.1), (1, 2.0), (2, 0.02), (2, 0.7), (3, 0.0)])
def test_training_is_that_of_faiss(name: str, stat: int, arg: float) -> None:
    ours, theirs = pair(5, name)
    x = vectors(200, 5)
    for sq in (ours, theirs):
        sq.rangestat, sq.rangestat_arg = stat, arg
    ours.train(x)
    train_in_one_thread(theirs, x)
    np.testing.assert_allclose(ours.trained, faiss.vector_to_array(theirs.trained), rtol=1e-5)


@pytest.mark.parametrize("name", SCALED)
def test_rounding_of_levels(name: str, simd_level: str) -> None:
    """Components at the borders of levels, and a float32 beside them; without a range, not finite, and in long rows."""
    d = 75
    ours, theirs = pair(d, name)
    x = np.stack([np.zeros(d), np.full(d, 3.0)]).astype(np.float32)
    x[:, 7] = 1
    ours.train(x)
    theirs.train(x)
    borders = (np.arange(d) * 3 / ((1 << ours.bits) - 1)).astype(np.float32)
    y = np.stack([borders, np.nextafter(borders, -1), np.nextafter(borders, 9), -borders]).astype(np.float32)
    y[0, :3] = [np.nan, np.inf, -np.inf]
    np.testing.assert_array_equal(ours.compute_codes(y), theirs.compute_codes(y))


def test_rounding_of_halves() -> None:
    rng = np.random.default_rng(0)
    y = (rng.standard_normal((500, 7)) * 2.0 ** rng.integers(-30, 18, (500, 7))).astype(np.float32)
    y[::3] = (y[::3].view(np.uint32) & ~np.uint32(0xFFF)).view(np.float32)
    y[0, :5] = [np.inf, -np.inf, 65519.9, 65520, -1e38]
    y[1] = np.float32(2.0**-24) * np.array([0.25, 0.5, 0.75, 1, 1.5, 2.5, 0.49])
    for columns in (7, 8):
        z = np.ascontiguousarray(np.pad(y, ((0, 0), (0, columns - 7))))
        for name in ("QT_fp16", "QT_bf16"):
            ours, theirs = pair(columns, name)
            np.testing.assert_array_equal(ours.compute_codes(z), theirs.compute_codes(z))


def build(index: Any, x: np.ndarray) -> Any:
    index.train(x)
    index.add(x[:7])
    index.add(x[7:])
    return index


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_search_against_faiss(name: str, metric: int, simd_level: str) -> None:
    x, qtype = vectors(900, 19, name), getattr(ScalarQuantizer, name)
    xq = x[:40] + np.float32(0.3)
    ours, theirs = (
        build(IndexScalarQuantizer(19, qtype, metric), x),
        build(faiss.IndexScalarQuantizer(19, qtype, metric), x),
    )
    assert ours.ntotal == 900
    np.testing.assert_array_equal(ours.sa_encode(x), theirs.sa_encode(x))
    exact = ours.reconstruct_n(0, 900).astype(np.float64)
    scores = xq @ exact.T if metric == 0 else -((xq[:, None].astype(np.float64) - exact) ** 2).sum(-1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :12]
    best = np.abs(np.take_along_axis(scores, order, 1))
    for nq in (40, 3, 1):
        for found in (ours.search(xq[:nq], 12), map(np.array, ours.search(mx.array(xq[:nq]), 12))):
            D, I = found
            np.testing.assert_array_equal(I, order[:nq])
            np.testing.assert_allclose(np.abs(D), best[:nq], rtol=1e-5)
    sel = metalfaiss.IDSelectorRange(100, 300)
    D, I = ours.search(xq, 5, params=SearchParameters(sel=sel))
    params = faiss.SearchParameters(sel=faiss.IDSelectorRange(100, 300))
    np.testing.assert_allclose(D, theirs.search(xq, 5, params=params)[0], rtol=1e-4, atol=1e-3)
    assert ((I >= 100) & (I < 300)).all()
    radius = float(np.median(D))
    limits, _, ids = ours.range_search(xq, radius)
    assert len(ids) == limits[-1] == ((scores > radius) if metric == 0 else (-scores < radius)).sum()


def test_life_of_an_index() -> None:
    x = vectors(100, 8)
    index = build(IndexScalarQuantizer(8, ScalarQuantizer.QT_6bit), x)
    decoded = index.sa_decode(index.sa_encode(x))
    np.testing.assert_array_equal(index.reconstruct_n(3, 4), decoded[3:7])
    np.testing.assert_array_equal(index.reconstruct_batch([9, 1]), decoded[[9, 1]])
    np.testing.assert_array_equal(index.reconstruct(5), decoded[5])
    for other in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        np.testing.assert_array_equal(other.search(x[:5], 3)[1], index.search(x[:5], 3)[1])
        index.search(x[:1], 1)
        other.add(x[:1])
        assert (other.ntotal, index.ntotal) == (101, 100)
    assert index.remove_ids(np.array([0, 2, 500])) == 2
    np.testing.assert_array_equal(index.reconstruct_n(), decoded[[1, *range(3, 100)]])
    other = IndexScalarQuantizer(8, ScalarQuantizer.QT_6bit)
    other.sq.trained, other.is_trained = index.sq.trained, True
    other.add(x[:2])
    index.merge_from(other)
    assert (index.ntotal, other.ntotal) == (100, 0)
    index.reset()
    assert index.search(x[:1], 2)[1].tolist() == [[-1, -1]]
    assert repr(index) == "IndexScalarQuantizer(d=8, ScalarQuantizer(8, QT_6bit, is_trained=True), ntotal=0)"


def test_transforms() -> None:
    x = vectors(80, 8)
    index = build(IndexScalarQuantizer(8), x)
    q = mx.array(x[:6])
    wanted = index.search(q, 3)
    compiled = mx.compile(lambda q: index.search(q, 3))
    mapped = mx.vmap(lambda q: index.search(q, 3))(q.reshape(2, 3, 8))
    for got in (compiled(q), [a.reshape(6, 3) for a in mapped]):
        assert all(mx.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
    with pytest.raises(ValueError, match=r"\[knn_codes\] Codes have no derivative"):
        mx.grad(lambda q: index.search(q, 3)[0].sum())(q)


def test_errors() -> None:
    with pytest.raises(NotImplementedError, match=r"types from 0 to 8\. Received 12"):
        ScalarQuantizer(4, 12)
    with pytest.raises(ValueError, match="at least 1"):
        ScalarQuantizer(0)
    sq = ScalarQuantizer(4)
    with pytest.raises(RuntimeError, match="must be trained"):
        sq.compute_codes(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="must hold vectors"):
        sq.train(np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match=r"There must be 8 values, or none\. Received 3"):
        sq.trained = [1, 2, 3]
    index = IndexScalarQuantizer(4)
    for call in (lambda: index.add(np.zeros((1, 4), np.float32)), lambda: index.search(np.zeros((1, 4)), 1)):
        with pytest.raises(RuntimeError, match="must be trained"):
            call()
    with pytest.raises(ValueError, match="must be METRIC_L2 or METRIC_INNER_PRODUCT"):
        IndexScalarQuantizer(4, 0, 5)
    assert not sq.is_trained
    assert ScalarQuantizer(4, ScalarQuantizer.QT_fp16).is_trained
    assert repr(pickle.loads(pickle.dumps(sq))) == "ScalarQuantizer(4, QT_8bit, is_trained=False)"
