"""Every type: a file of faiss-cpu's is read with equal results, written back byte for byte, and read there again."""

from __future__ import annotations

import re
from typing import Any

import faiss
import numpy as np
import pytest
from tests.files.oracle import FLAT, content, made, vectors

import metalfaiss

METRICS_OF_FACTORIES = [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT]
METRICS = ["L1", "Linf", "Lp", "Canberra", "BrayCurtis", "JensenShannon", "Jaccard", "NaNEuclidean", "GOWER"]


def check_equal(ours: Any, theirs: Any, k: int = 5) -> None:
    xq = vectors(7, 2, theirs.d)
    D, I = ours.search(xq, k)
    wanted_D, wanted_I = theirs.search(xq, k)
    # Where the CPU has instructions for it, FAISS rounds queries to bfloat16 as well.
    rounded = "bf16" in metalfaiss.reverse_index_factory(ours)
    np.testing.assert_allclose(D, wanted_D, rtol=1e-2 if rounded else 1e-4, atol=1e-5)
    assert (wanted_I == I).mean() > 0.97  # near ties may be in either order
    assert ours.ntotal == theirs.ntotal
    assert ours.is_trained == theirs.is_trained
    assert ours.metric_type == theirs.metric_type


def round_trip(theirs: Any) -> Any:
    written = content(theirs)
    ours = metalfaiss.deserialize_index(written)
    assert metalfaiss.serialize_index(ours).tobytes() == written
    return ours


@pytest.mark.parametrize("metric", METRICS_OF_FACTORIES)
@pytest.mark.parametrize("factory", FLAT)
def test_factories(factory: str, metric: int) -> None:
    if "LSH" in factory and metric != faiss.METRIC_L2:
        pytest.skip("FAISS has no such index")
    theirs = made(factory, metric)
    ours = round_trip(theirs)
    check_equal(ours, theirs)
    check_equal(ours, faiss.deserialize_index(metalfaiss.serialize_index(ours)))


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name: str) -> None:
    metric = getattr(faiss, f"METRIC_{name}")
    theirs = faiss.IndexFlat(8, metric)
    theirs.metric_arg = 3.5
    theirs.add(vectors(50, d=8))
    ours = round_trip(theirs)
    assert (ours.metric_type, ours.metric_arg) == (metric, 3.5)
    check_equal(ours, theirs)


@pytest.mark.parametrize("factory", FLAT)
def test_empty(factory: str) -> None:
    theirs = made(factory, n=0)
    ours = round_trip(theirs)
    assert ours.ntotal == 0
    assert type(ours).__name__ == type(faiss.deserialize_index(faiss.serialize_index(theirs))).__name__


@pytest.mark.parametrize("factory", FLAT)
def test_further_use(factory: str) -> None:
    """What was read is an index like any other: it can be added to and written again as FAISS would write it."""
    theirs = made(factory)
    ours = round_trip(theirs)
    more = vectors(20, 3)
    for index in (ours, theirs):
        if "IDMap" in factory:
            index.add_with_ids(more, np.arange(2000, 2020))
        else:
            index.add(more)
    if not {"PCA", "RR", "norm"} & set(re.findall("PCA|RR|norm", factory)):  # these round otherwise than FAISS
        assert metalfaiss.serialize_index(ours).tobytes() == content(theirs)
    check_equal(ours, theirs)


def test_made_here() -> None:
    """An index made here, in several pieces, and not read from a file."""
    ours, theirs = metalfaiss.IndexFlatIP(16), faiss.IndexFlatIP(16)
    for n in (1, 700, 3):
        ours.add(vectors(n, n))
        theirs.add(vectors(n, n))
    assert metalfaiss.serialize_index(ours).tobytes() == content(theirs)


def test_half_precision_is_widened() -> None:
    import mlx.core as mx

    ours = metalfaiss.IndexFlatL2(16, dtype=mx.float16)
    ours.add(vectors(20))
    back = faiss.deserialize_index(metalfaiss.serialize_index(ours))
    np.testing.assert_array_equal(back.reconstruct_n(0, 20), vectors(20).astype(np.float16).astype(np.float32))


def test_what_has_no_form() -> None:
    with pytest.raises(RuntimeError, match=r"\[write_index\] The index must be of a type that FAISS's files hold"):
        metalfaiss.serialize_index(metalfaiss.IndexShards(4))


@pytest.mark.parametrize("factory", ["PQ4x4", "HNSW8,Flat", "IVF4,PQ4x4", "RaBitQ"])
def test_not_built(factory: str) -> None:
    theirs = made(factory, n=100)
    with pytest.raises(NotImplementedError, match=type(theirs).__name__):
        metalfaiss.deserialize_index(content(theirs))


def test_inspect(tmp_path: Any) -> None:
    path = tmp_path / "a.faiss"
    faiss.write_index(made("IVF4,PQ4x4"), str(path))
    found = metalfaiss.io.inspect(path)
    assert found["type"] == "IndexIVFPQ"
    assert found["nlist"] == 4
    assert found["pq"]["M"] == 4
    assert found["quantizer"]["fourcc"] == "IxF2"
    assert found["quantizer"]["codes"]["size"] == 4 * 16 * 4
    assert found["invlists"]["list_type"] == "full"
