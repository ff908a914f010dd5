"""Indexes with inverted lists, and those of the scalar quantizer, in files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from tests.files.oracle import IVF, content, made, vectors
from tests.files.test_hostile import accepted_or_refused
from tests.files.test_types import check_equal, round_trip

import metalfaiss


@pytest.mark.parametrize("n", [300, 2, 0])  # full lists, sparse ones, none
@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
@pytest.mark.parametrize("factory", IVF)
def test_factories(factory: str, metric: int, n: int) -> None:
    theirs = made(factory, metric, n)
    ours = round_trip(theirs)
    assert type(ours).__name__ == type(theirs).__name__
    if n:
        check_equal(ours, theirs)
        check_equal(ours, faiss.deserialize_index(metalfaiss.serialize_index(ours)))


def test_not_trained() -> None:
    for factory in ("IVF8,Flat", "IVF8,SQ8", "SQ8"):
        assert not round_trip(faiss.index_factory(16, factory)).is_trained


def mapped(kind: int, factory: str) -> Any:
    theirs = faiss.index_factory(16, factory)
    theirs.train(vectors(300, 1))
    theirs.add(vectors(300))
    theirs.nprobe = 3
    theirs.set_direct_map_type(kind)
    return theirs


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8"])
def test_direct_maps(factory: str) -> None:
    ours = round_trip(mapped(1, factory))
    assert (ours.nprobe, ours.direct_map.type) == (3, 1)
    theirs = mapped(2, factory)
    written = content(theirs)
    ours = metalfaiss.deserialize_index(written)
    assert sorted(metalfaiss.serialize_index(ours).tobytes()) == sorted(written)  # but for the order in the table
    back = faiss.deserialize_index(metalfaiss.serialize_index(ours))
    for id in (0, 17, 299):
        np.testing.assert_array_equal(back.reconstruct(id), theirs.reconstruct(id))
        np.testing.assert_allclose(ours.reconstruct(id), theirs.reconstruct(id), atol=1e-6)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8"])
def test_lists_stay_in_a_mapped_file(tmp_path: Path, factory: str) -> None:
    path = tmp_path / "a.faiss"
    written = content(made(factory))
    path.write_bytes(written)
    plain = metalfaiss.read_index(path)
    index = metalfaiss.read_index(path, metalfaiss.IO_FLAG_MMAP)
    for one in (plain, index):
        one.nprobe = 4
    for a, b in zip(plain.search(vectors(9, 5), 7), index.search(vectors(9, 5), 7), strict=True):
        np.testing.assert_array_equal(a, b)
    for one in (plain, index):
        one.add_with_ids(vectors(50, 6), np.arange(50))
        assert one.remove_ids(np.arange(20)) == 25  # of them 5 from the file: 5, 8, ..., 17
    assert metalfaiss.serialize_index(plain).tobytes() == metalfaiss.serialize_index(index).tobytes()
    assert path.read_bytes() == written


def test_older_form() -> None:
    """IwSQ has no by_residual, which stands between the code size and the lists."""
    written = content(made("IVF8,SQ8"))
    at = written.index(b"ilar") - 1
    old = b"IwSQ" + written[4:at] + written[at + 1 :]
    ours, theirs = metalfaiss.deserialize_index(old), faiss.deserialize_index(np.frombuffer(old, np.uint8))
    assert ours.by_residual == theirs.by_residual
    check_equal(ours, theirs)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8", "SQ4"])
def test_hostile(factory: str) -> None:
    data = content(made(factory, n=9))
    for n in range(0, len(data), 3):
        with pytest.raises(metalfaiss.IndexFileError):
            metalfaiss.deserialize_index(data[:n])
    rng = np.random.default_rng(3)
    for number in (-1, -(2**63), 2**62, 2**32, 2**20, 0, 3):
        for at in rng.integers(4, len(data) - 8, 12):
            accepted_or_refused(data[:at] + struct.pack("<q", number) + data[at + 8 :])
    for at in rng.integers(4, len(data), 100):
        accepted_or_refused(data[:at] + bytes([data[at] ^ rng.integers(1, 256)]) + data[at + 1 :])
