"""Shards with one quantizer, and shards and replicas of binary indexes, as faiss-cpu has them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss

rng = np.random.default_rng(0)
XB = rng.standard_normal((400, 8)).astype(np.float32)
XQ = rng.standard_normal((30, 8)).astype(np.float32)
CODES = rng.integers(0, 256, (300, 8), dtype=np.uint8)
QUERIES = np.concatenate([CODES[:7], rng.integers(0, 256, (20, 8), dtype=np.uint8)])
BOTH = [metalfaiss, faiss]
KEPT: list[Any] = []  # FAISS's groups do not keep all that they are made of

# ------------------------------------------------------------------------------- shards with one quantizer


def ivf_shards(lib: Any, successive: bool = True, metric: int = 1) -> Any:
    quantizer = lib.IndexFlat(8, metric)
    quantizer.add(XB[:6])
    shards = lib.IndexShardsIVF(quantizer, 6, False, successive)
    KEPT.append(quantizer)
    for _ in range(3):
        inner = lib.IndexFlat(8, metric)
        inner.add(XB[:6])
        shard = lib.IndexIVFFlat(inner, 8, 6, metric)
        shard.nprobe = 2
        KEPT.extend([inner, shard])
        shards.add_shard(shard)
    return shards


@pytest.mark.parametrize("successive", [True, False])
@pytest.mark.parametrize("metric", [0, 1])
def test_ivf_shards_as_faiss(successive: bool, metric: int) -> None:
    found = []
    for lib in BOTH:
        shards = ivf_shards(lib, successive, metric)
        shards.is_trained = True
        shards.add(XB)
        if not successive:
            shards.add_with_ids(XB[:10] + 1, np.arange(10) + 5000)
        D, I = shards.search(XQ, 5)
        assert isinstance(shards, lib.Level1Quantizer)
        found.append(
            (D, I, shards.ntotal, shards.nlist, shards.count(), shards.at(1).ntotal, shards.coarse_code_size())
        )
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert found[0][2:] == found[1][2:]


def test_ivf_shards_as_one_index() -> None:
    shards = ivf_shards(metalfaiss)
    shards.add(XB)
    one = metalfaiss.IndexIVFFlat(shards.quantizer, 8, 6)
    one.add(XB)
    one.nprobe = 2
    for params in (
        None,
        metalfaiss.SearchParametersIVF(nprobe=4),
        metalfaiss.SearchParametersIVF(nprobe=6, sel=metalfaiss.IDSelectorRange(50, 260)),
    ):
        np.testing.assert_array_equal(shards.search(XQ, 5, params=params)[1], one.search(XQ, 5, params=params)[1])
        ours, theirs = (i.range_search(XQ, 4.0, params=params) for i in (shards, one))
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[2], theirs[2])
    np.testing.assert_array_equal(np.array(shards.search(mx.array(XQ), 3)[1]), one.search(XQ, 3)[1])
    for other in (copy.deepcopy(shards), pickle.loads(pickle.dumps(shards))):
        np.testing.assert_array_equal(other.search(XQ, 3)[1], one.search(XQ, 3)[1])


def test_ivf_shards_are_trained_once() -> None:
    shards = metalfaiss.IndexShardsIVF(metalfaiss.IndexFlatL2(8), 4)
    for _ in range(2):
        shards.add_shard(metalfaiss.IndexIVFScalarQuantizer(metalfaiss.IndexFlatL2(8), 8, 4, 0))
    assert not shards.is_trained
    shards.train(XB)
    assert shards.is_trained
    centroids = shards.quantizer.reconstruct_n()
    for i in range(2):
        np.testing.assert_array_equal(shards.at(i).quantizer.reconstruct_n(), centroids)
        shards.at(i).nprobe = 4
    shards.add(XB)
    assert (shards.search(XB, 1)[1][:, 0] == np.arange(400)).mean() > 0.98
    alone = metalfaiss.index_factory(8, "IVF4,Flat")
    alone.train_q1(400, XB, False, metalfaiss.METRIC_L2)
    assert alone.quantizer.ntotal == 4


def test_errors_of_ivf_shards() -> None:
    shards = ivf_shards(metalfaiss)
    with pytest.raises(RuntimeError, match="The shard must be an IndexIVF"):
        shards.add_shard(metalfaiss.IndexFlatL2(8))
    with pytest.raises(RuntimeError, match="nlist"):
        shards.addIndex(metalfaiss.IndexIVFFlat(metalfaiss.IndexFlatL2(8), 8, 5))
    with pytest.raises(TypeError, match="quantizer must be an index"):
        metalfaiss.IndexShardsIVF("flat", 4)
    shards.at(1).nprobe = 3
    with pytest.raises(RuntimeError, match="nprobe"):
        shards.search(XQ, 3)
    with pytest.raises(RuntimeError, match="metric_type"):
        shards.train_q1(400, XB, False, 0)


# ----------------------------------------------------------------------------------------- binary indexes


def shown(index: Any) -> list[Any]:
    D, I = index.search(QUERIES, 4)
    return [D.dtype, D.tolist(), np.sort(I).tolist() if (np.diff(D) > 0).all() else 0, index.ntotal, index.d]


@pytest.mark.parametrize("successive", [True, False])
def test_binary_shards_as_faiss(successive: bool) -> None:
    found = []
    for lib in BOTH:
        shards = lib.IndexBinaryShards(64, False, successive)
        for _ in range(3):
            shard = lib.IndexBinaryFlat(64)
            KEPT.extend([shard, shard if successive else lib.IndexBinaryIDMap(shard)])
            shards.add_shard(KEPT[-1])
        shards.add(CODES)
        found.append(shown(shards))
        if successive:
            with pytest.raises(RuntimeError):
                shards.add(CODES)
        else:
            shards.add_with_ids(CODES[:3], np.arange(3) + 1000)
            found[-1] += [shards.ntotal, np.sort(shards.search(CODES[:3], 2)[1]).tolist()]
    assert found[0] == found[1]


def test_binary_shards_as_one_index() -> None:
    shards, one = metalfaiss.IndexBinaryShards(), metalfaiss.IndexBinaryFlat(64)
    for part in np.split(CODES, [50, 50, 170]):
        shard = metalfaiss.IndexBinaryFlat(64)
        shard.add(part)
        shards.add_shard(shard)
    one.add(CODES)
    params = metalfaiss.SearchParameters(sel=metalfaiss.IDSelectorRange(40, 180))
    for given in ({}, {"params": params}):
        for k in (4, 400):
            for a, b in zip(shards.search(QUERIES, k, **given), one.search(QUERIES, k, **given), strict=True):
                np.testing.assert_array_equal(a, b)
        for a, b in zip(shards.range_search(QUERIES, 24, **given), one.range_search(QUERIES, 24, **given), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(shards.reconstruct_n(45, 130), CODES[45:175])
    np.testing.assert_array_equal(shards.reconstruct(299), CODES[299])
    again = pickle.loads(pickle.dumps(shards))
    np.testing.assert_array_equal(again.search(QUERIES, 3)[1], one.search(QUERIES, 3)[1])
    shards.remove_shard(shards.at(3))
    assert (shards.count(), shards.ntotal, again.ntotal) == (3, 170, 300)
    shards.reset()
    assert shards.ntotal == 0
    assert "IndexBinaryShards([" in repr(shards)


def test_binary_replicas_as_faiss() -> None:
    found = []
    for lib in BOTH:
        replicas = lib.IndexBinaryReplicas(64)
        parts = [lib.IndexBinaryFlat(64) for _ in range(2)]
        for part in parts:
            replicas.add_replica(part)
        replicas.add(CODES)
        found.append([*shown(replicas), [p.ntotal for p in parts], replicas.reconstruct(7).tolist()])
        replicas.remove_replica(parts[0])
        found[-1].append(replicas.count())
    assert found[0] == found[1]
    one = metalfaiss.IndexBinaryFlat(64)
    one.add(CODES)
    replicas = metalfaiss.IndexBinaryReplicas()
    for _ in range(2):
        replicas.add_replica(metalfaiss.clone_binary_index(one))
    for a, b in zip(replicas.range_search(QUERIES, 24), one.range_search(QUERIES, 24), strict=True):
        np.testing.assert_array_equal(a, b)
    assert replicas.remove_ids(np.arange(5)) == 5
    assert replicas.at(1).ntotal == 295


def test_errors_of_binary_groups() -> None:
    shards, replicas = metalfaiss.IndexBinaryShards(64), metalfaiss.IndexBinaryReplicas(64)
    other, filled = metalfaiss.IndexBinaryFlat(32), metalfaiss.IndexBinaryFlat(64)
    filled.add(CODES)
    for error, call in (
        (TypeError, lambda: shards.add_shard(metalfaiss.IndexFlatL2(64))),
        (RuntimeError, lambda: shards.add_shard(other)),
        (RuntimeError, lambda: shards.remove_shard(filled)),
        (RuntimeError, lambda: shards.search(QUERIES, 3)),
        (RuntimeError, lambda: replicas.add(CODES)),
        (RuntimeError, lambda: (replicas.add_replica(metalfaiss.IndexBinaryFlat(64)), replicas.add_replica(filled))),
    ):
        with pytest.raises(error, match=r"^\[IndexBinary"):
            call()
    shards.add_shard(filled)
    with pytest.raises(RuntimeError, match="successive_ids must be False"):
        shards.add_with_ids(CODES, np.arange(300))
