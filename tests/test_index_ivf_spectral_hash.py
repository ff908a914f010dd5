"""IndexIVFSpectralHash against FAISS."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest
from test_index_wrappers import both_ways

import metalfaiss

D = 16
rng = np.random.default_rng(5)
X = rng.standard_normal((500, D)).astype(np.float32)
Q = X[:40] + 0.05 * rng.standard_normal((40, D)).astype(np.float32)
KINDS = ["ITQ16,SH", "PCA8,SH2.5g", "PCAR12,SH3c", "ITQ,SHm", "PCAR,SH1.5m"]


def made(kind: str, half: bool = False) -> Any:
    """An index of FAISS's."""
    index = faiss.index_factory(D, f"IVF4,{kind}")
    if half:
        index.threshold_type = index.Thresh_centroid_half
    index.train(X)
    index.add_with_ids(X, np.arange(500) * 2 + 1)
    index.nprobe = 3
    return index


def same_neighbours(ours: Any, theirs: Any, k: int = 9) -> None:
    """Equal distances, and equal ids but for ties; a component on a threshold may fall to either side."""
    D_, _ = ours.search(Q, k)
    wanted, _ = theirs.search(Q, k)
    assert D_.dtype == np.float32
    assert (wanted == D_).mean() > 0.99
    lims, near, ids = ours.range_search(Q, 3.0)
    wanted_lims, _, wanted_ids = theirs.range_search(Q, 3.0)
    assert abs(int(lims[-1]) - int(wanted_lims[-1])) <= 0.01 * int(wanted_lims[-1])
    common = sum(np.intersect1d(ids[a:b], wanted_ids[c:d]).size for a, b, c, d in zip(
        lims[:-1].astype(int), lims[1:].astype(int), wanted_lims[:-1].astype(int), wanted_lims[1:].astype(int),
        strict=True,
    ))  # fmt: skip
    assert common >= 0.99 * len(ids)
    assert near.max() < 3


@pytest.mark.parametrize(("kind", "half"), [*((kind, False) for kind in KINDS), ("PCA8,SH2c", True)])
def test_spectral_hash(kind: str, half: bool) -> None:
    theirs = made(kind, half)
    ours = both_ways(theirs)
    same_neighbours(ours, theirs)
    codes = theirs.sa_encode(X)
    assert (np.unpackbits(ours.sa_encode(X) ^ codes)).mean() < 5e-3  # a vector that is a median lies on its threshold
    for other in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
        np.testing.assert_array_equal(other.search(Q, 5)[1], ours.search(Q, 5)[1])
    lazy = ours.search(mx.array(Q), 5)
    np.testing.assert_array_equal(np.array(lazy[1]), ours.search(Q, 5)[1])
    few = metalfaiss.SearchParametersIVF(nprobe=4, sel=metalfaiss.IDSelectorRange(100, 200))
    assert (ours.search(Q, 3, params=few)[1] // 100 == 1).all()
    ours.add(X[:3])
    assert ours.ntotal == 503
    assert ours.remove_ids(np.array([1, 3])) == 2
    assert ours.search(Q[:1], 600)[1][0, -1] == -1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_here_is_as_good(kind: str) -> None:
    theirs, ours = made(kind), metalfaiss.index_factory(D, f"IVF4,{kind}")
    assert not ours.is_trained
    ours.train(X)
    ours.add_with_ids(X, np.arange(500) * 2 + 1)
    ours.nprobe = 3
    exact = metalfaiss.knn(Q, X, 1)[1][:, 0] * 2 + 1
    found = [(index.search(Q, 20)[1] == exact[:, None]).any(axis=1).mean() for index in (ours, theirs)]
    assert found[0] > found[1] - 0.12
    median = ours.threshold_type == ours.Thresh_median
    assert ours.trained.size() == (4 * ours.nbit if median or ours.threshold_type else 0)


def test_a_random_rotation_comes_first() -> None:
    ours, theirs = (f.IndexIVFSpectralHash(f.IndexFlatL2(D), D, 4, 12, 2.0) for f in (metalfaiss, faiss))
    for index in (ours, theirs):
        index.quantizer.add(X[:4])
        index.train(X)
        index.add(X)
        index.nprobe = 2
    assert (ours.nbit, ours.period, ours.code_size) == (12, 2.0, 2)
    same_neighbours(ours, theirs)
    merged = metalfaiss.clone_index(ours)
    merged.merge_from(metalfaiss.clone_index(ours), 500)
    assert merged.ntotal == 1000


def test_transforms_are_replaced() -> None:
    index = metalfaiss.IndexIVFSpectralHash(metalfaiss.IndexFlatL2(D), D, 4, 8, 2.0)
    index.replace_vt(metalfaiss.index_factory(D, "PCA8,LSH"))
    assert isinstance(index.vt, metalfaiss.PCAMatrix)
    for error, vt in (
        (RuntimeError, metalfaiss.PCAMatrix(D, 4)),
        (RuntimeError, metalfaiss.index_factory(D, "PCA8,LSHr")),
        (TypeError, metalfaiss.IndexFlatL2(D)),
    ):
        with pytest.raises(error, match=r"\[IndexIVFSpectralHash\.replace_vt\] vt must"):
            index.replace_vt(vt)
    index.threshold_type = 7
    with pytest.raises(ValueError, match="threshold_type must be from 0 to 3"):
        index.train(X)
    with pytest.raises(ValueError, match="period must be finite, and not 0"):
        metalfaiss.IndexIVFSpectralHash(index.quantizer, D, 4, 8, 0)
    with pytest.raises(ValueError, match="There must be 32 values, or none"):
        index.trained = np.zeros(3)


def test_what_codes_cannot_do() -> None:
    index = both_ways(made("PCA8,SH2.5g"))
    for call in (
        lambda: index.reconstruct_n(0, 2),
        lambda: index.sa_decode(index.sa_encode(X)),
        lambda: index.search_and_reconstruct(Q, 2),
    ):
        with pytest.raises(RuntimeError, match="must be of a type that supports"):
            call()
    with pytest.raises(ValueError, match="max_codes must be 0"):
        index.search(Q, 2, params=metalfaiss.SearchParametersIVF(max_codes=5))


def test_hostile_files() -> None:
    good = bytearray(faiss.serialize_index(made("PCA8,SH2.5c")).tobytes())
    at = good.index(np.array([8], "<i4").tobytes() + np.array([2.5], "<f4").tobytes())
    for offset, wrong in ((0, 1 << 30), (0, -1), (4, 0), (8, 9), (8, -1)):  # nbit, period, threshold_type
        bad = bytearray(good)
        bad[at + offset : at + offset + 4] = np.array([wrong], "<i4").tobytes()
        with pytest.raises(metalfaiss.IndexFileError):
            metalfaiss.deserialize_index(np.frombuffer(bytes(bad), np.uint8))
