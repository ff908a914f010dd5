"""Distances to single stored vectors, as faiss-cpu computes them."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

import metalfaiss

D = 8
rng = np.random.default_rng(0)
XB = rng.standard_normal((300, D)).astype(np.float32)
QUERY = rng.standard_normal(D).astype(np.float32)
KINDS = [
    ("Flat", 1), ("Flat", 0), ("Flat", 2), ("Flat", 3), ("SQ8", 1), ("SQ8", 0), ("SQfp16", 1), ("LSH", 1),
    ("PCA4,Flat", 1), ("PCA4,L2norm,Flat", 0), ("Flat,RFlat", 1), ("IVF4,Flat", 1), ("IVF4,SQ8", 1), ("IDMap2,Flat", 1),
]  # fmt: skip


def pair(kind: str, metric: int) -> tuple[Any, Any]:
    theirs = faiss.index_factory(D, kind, metric)
    theirs.train(XB)
    theirs.add(XB) if "IDMap" not in kind else theirs.add_with_ids(XB, np.arange(300))
    ours = metalfaiss.deserialize_index(faiss.serialize_index(theirs))
    if "IVF" in kind:
        ours.make_direct_map()
        theirs.make_direct_map()
    return ours, theirs


def distances(lib: Any, computer: Any) -> list[float]:
    computer.set_query(lib.swig_ptr(QUERY))
    out = np.zeros(4, np.float32)
    computer.distances_batch_4(4, 9, 2, 4, *(lib.swig_ptr(out[i:]) for i in range(4)))
    return [computer(5), computer(299), computer.symmetric_dis(5, 7), *out.tolist()]


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_as_faiss(kind: str, metric: int) -> None:
    found = []
    for lib, index in zip((metalfaiss, faiss), pair(kind, metric), strict=True):
        found.append(distances(lib, index.get_distance_computer()))
        if kind in ("Flat", "SQ8", "LSH"):
            assert isinstance(index, lib.IndexFlatCodes)
            computer = index.get_FlatCodesDistanceComputer()
            found[-1] += distances(lib, computer)
            code = index.sa_encode(XB[:4])
            assert computer.code_size == index.sa_code_size()
            out = np.zeros(4, np.float32)
            computer.distance_to_code_batch_4(*map(lib.swig_ptr, code), *(lib.swig_ptr(out[i:]) for i in range(4)))
            found[-1] += [computer.distance_to_code(lib.swig_ptr(code[1])), *out.tolist()]
        if (kind, metric) == ("Flat", 1):
            found[-1].append(computer.partial_dot_product(7, 2, 5))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)


def test_other_computers() -> None:
    found = []
    for lib in (metalfaiss, faiss):
        rows = lib.get_extra_distance_computer(D, lib.METRIC_Lp, 3.0, lib.swig_ptr(XB))
        found.append(distances(lib, rows))
    np.testing.assert_allclose(*found, rtol=1e-5)
    index = pair("Flat", 0)[0]
    computer = index.get_distance_computer()
    negated = metalfaiss.NegativeDistanceComputer(computer)
    np.testing.assert_array_equal(distances(metalfaiss, negated), -np.array(distances(metalfaiss, computer)))
    np.testing.assert_array_equal(computer.q, QUERY)
    np.testing.assert_array_equal(computer.codes, XB.view(np.uint8).ravel())


@pytest.mark.parametrize("metric", [0, 1])
def test_distances_to_a_subset(metric: int) -> None:
    xq, ids = XB[:3] + np.float32(0.1), np.random.default_rng(1).integers(0, 300, (3, 4))
    ids[1, 2] = -1
    found = []
    for lib, index in zip((metalfaiss, faiss), pair("Flat", metric), strict=True):
        out = np.zeros((3, 4), np.float32)
        index.compute_distance_subset(3, lib.swig_ptr(xq), 4, lib.swig_ptr(out), lib.swig_ptr(ids))
        found.append(out)
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def test_errors() -> None:
    flat, ivf = metalfaiss.IndexFlatL2(D), metalfaiss.index_factory(D, "IVF2,Flat")
    computer = flat.get_FlatCodesDistanceComputer()
    out = np.zeros(1, np.float32)
    for call in (lambda: computer(0), lambda: computer.distance_to_code(np.zeros(32, np.uint8))):
        flat.add(XB[:1])
        with pytest.raises(RuntimeError, match=r"call set_query\(x\)"):
            call()
    computer.set_query(QUERY)
    ivf.train(XB)
    ivf.add(XB)
    lost = ivf.get_distance_computer()
    lost.set_query(QUERY)
    for error, call in (
        (ValueError, lambda: computer(2)),
        (ValueError, lambda: computer.set_query(QUERY[:3])),
        (ValueError, lambda: computer.partial_dot_product(0, 5, 4)),
        (ValueError, lambda: computer.distance_to_code(np.zeros(3, np.uint8))),
        (TypeError, lambda: computer.distance_to_code(np.zeros(32))),
        (TypeError, lambda: computer.distances_batch_4(0, 0, 0, 0, out, out, out, np.zeros(1))),
        (RuntimeError, lambda: lost(3)),
        (ValueError, lambda: metalfaiss.get_extra_distance_computer(D, 1, 0.0, np.zeros(9))),
        (ValueError, lambda: flat.compute_distance_subset(1, QUERY, 1, out, np.array([7]))),
        (TypeError, lambda: flat.compute_distance_subset(1, QUERY, 1, np.zeros(1), np.array([0]))),
        (RuntimeError, lambda: metalfaiss.IndexFlat(D, 2).compute_distance_subset(1, QUERY, 1, out, np.array([0]))),
    ):
        with pytest.raises(error, match=r"^\["):
            call()
