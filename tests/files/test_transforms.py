"""Vector transforms and inverted lists in files."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from tests.files.oracle import vectors

import metalfaiss

D = 16
TRANSFORMS = {
    "pca": lambda: faiss.PCAMatrix(D, 4, -0.5, True),
    "rotation": lambda: faiss.RandomRotationMatrix(D, 8),
    "itq": lambda: faiss.ITQTransform(D, 8, True),
    "itq_matrix": lambda: faiss.ITQMatrix(D),
    "hadamard": lambda: faiss.HadamardRotation(D - 3),
    "remap": lambda: faiss.RemapDimensionsTransform(D, 24, True),
    "norm": lambda: faiss.NormalizationTransform(D, 2.0),
    "centering": lambda: faiss.CenteringTransform(D),
}


def written(write: Any, what: Any, module: Any) -> bytes:
    writer = module.VectorIOWriter()
    write(what, writer)
    found: bytes = module.vector_to_array(writer.data).tobytes()
    return found


def reader(data: bytes) -> metalfaiss.VectorIOReader:
    made = metalfaiss.VectorIOReader()
    made.data = np.frombuffer(data, np.uint8)
    return made


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str, trained: bool) -> None:
    theirs = TRANSFORMS[name]()
    if trained:
        theirs.train(vectors(200, 1, theirs.d_in))
    data = written(faiss.write_VectorTransform, theirs, faiss)
    ours = metalfaiss.read_VectorTransform(reader(data))
    assert written(metalfaiss.write_VectorTransform, ours, metalfaiss) == data
    assert ours.is_trained == theirs.is_trained
    if ours.is_trained:
        x = vectors(5, 2, theirs.d_in)
        np.testing.assert_allclose(ours.apply(x), theirs.apply(x), atol=1e-5)


@pytest.mark.parametrize("filled", [0, 1, 5, 9])
def test_lists(filled: int) -> None:
    """Full where more than half of them have entries, else sparse."""
    theirs, ours = faiss.ArrayInvertedLists(9, 4), metalfaiss.ArrayInvertedLists(9, 4)
    for i in range(filled):
        ids, codes = np.arange(i + 1) * 7, np.full((i + 1, 4), i, np.uint8)
        theirs.add_entries(i, i + 1, faiss.swig_ptr(ids), faiss.swig_ptr(codes))
        ours.add_entries(i, ids, codes)
    data = written(faiss.write_InvertedLists, theirs, faiss)
    assert written(metalfaiss.write_InvertedLists, ours, metalfaiss) == data
    back = metalfaiss.read_InvertedLists(reader(data))
    np.testing.assert_array_equal(back.sizes(), ours.sizes())
    for i in range(9):
        np.testing.assert_array_equal(back.get_ids(i), ours.get_ids(i))
        np.testing.assert_array_equal(back.get_codes(i), ours.get_codes(i))
    back.add_entries(0, [5], np.zeros((1, 4), np.uint8))  # what it borrowed is copied first
    assert back.list_size(0) == ours.list_size(0) + 1
    assert written(metalfaiss.write_InvertedLists, metalfaiss.read_InvertedLists(reader(data)), metalfaiss) == data


def test_no_lists() -> None:
    assert written(metalfaiss.write_InvertedLists, None, metalfaiss) == b"il00"
    assert metalfaiss.read_InvertedLists(reader(b"il00")) is None


@pytest.mark.parametrize("factory", ["BFlat", "IDMap,BFlat", "IDMap2,BFlat", "BIVF4"])
def test_binary(factory: str) -> None:
    theirs = faiss.index_binary_factory(64, factory)
    x = np.random.default_rng(0).integers(0, 256, (100, 8), dtype=np.uint8)
    theirs.train(x)
    if "IDMap" in factory:
        theirs.add_with_ids(x, np.arange(100) * 2)
    else:
        theirs.add(x)
    data = faiss.serialize_index_binary(theirs)
    ours = metalfaiss.deserialize_index_binary(data)
    assert metalfaiss.serialize_index_binary(ours).tobytes() == data.tobytes()
    np.testing.assert_array_equal(ours.search(x[:9], 4)[0], theirs.search(x[:9], 4)[0])
    with pytest.raises(metalfaiss.IndexFileError, match="fourcc of an index"):
        metalfaiss.deserialize_index(data)


def hostile(fields: bytes, match: str) -> None:
    with pytest.raises(metalfaiss.IndexFileError, match=match):
        metalfaiss.read_VectorTransform(reader(fields))


def test_hostile_sizes() -> None:
    """A few bytes must not make large arrays."""
    hostile(b"HRot" + np.int32([1, 2**30, 2**30]).tobytes() + b"\x01", "d_in and d_out must be from 1 to 1048576")
    hostile(b"HRot" + np.int32([1, 5, 5]).tobytes() + b"\x01", "d_out must be 8, the power of two")
    hostile(b"VNrm" + np.int32([0, 4, 5]).tobytes() + b"\x01", "d_out must be d_in: 4. Received 5")
    hostile(b"VCnt" + bytes(8) + np.int32([4, 4]).tobytes() + b"\x01", "must have a mean")
    hostile(b"RmDT" + np.int64([1]).tobytes() + np.int32([7, 4, 1]).tobytes() + b"\x01", "map must hold numbers")
    lists = b"ilar" + np.uint64([2**40, 4]).tobytes() + b"sprs" + bytes(8)
    with pytest.raises(metalfaiss.IndexFileError, match="nlist must be at most"):
        metalfaiss.read_InvertedLists(reader(lists))
