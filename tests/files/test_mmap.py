"""Mapped files: opened in no time and no memory, searched where they lie."""

from __future__ import annotations

import os
import resource
import struct
import sys
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tests.files.oracle import content, made, vectors

import metalfaiss

FLAGS = [metalfaiss.IO_FLAG_MMAP, metalfaiss.IO_FLAG_MMAP_IFC, metalfaiss.IO_FLAG_MMAP | metalfaiss.IO_FLAG_READ_ONLY]


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "a.faiss"
    file.write_bytes(content(made("Flat")))
    return str(file)


@pytest.mark.parametrize("flags", FLAGS)
def test_everything_works_on_a_mapped_index(path: str, flags: int) -> None:
    before = Path(path).read_bytes()
    plain, mapped = metalfaiss.read_index(path), metalfaiss.read_index(path, flags)
    xq = vectors(40, 5)
    for k in (1, 10, 400):
        for a, b in zip(plain.search(xq, k), mapped.search(xq, k), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(mapped.reconstruct_n(0, 300), vectors(300))
    np.testing.assert_array_equal(mapped.reconstruct_batch([5, 200, 7]), vectors(300)[[5, 200, 7]])
    np.testing.assert_array_equal(mapped.reconstruct(299), vectors(300)[299])
    sel = metalfaiss.IDSelectorRange(10, 50)
    params = metalfaiss.SearchParameters(sel=sel)
    np.testing.assert_array_equal(plain.search(xq, 5, params=params)[1], mapped.search(xq, 5, params=params)[1])
    mapped.add(vectors(500, 6))
    plain.add(vectors(500, 6))
    np.testing.assert_array_equal(plain.search(xq, 10)[1], mapped.search(xq, 10)[1])
    assert plain.remove_ids(sel) == mapped.remove_ids(sel) == 40
    np.testing.assert_array_equal(plain.search(xq, 10)[1], mapped.search(xq, 10)[1])
    assert metalfaiss.serialize_index(plain).tobytes() == metalfaiss.serialize_index(mapped).tobytes()
    assert Path(path).read_bytes() == before


def test_lazily_and_in_a_gradient(path: str) -> None:
    mapped = metalfaiss.read_index(path, metalfaiss.IO_FLAG_MMAP)
    plain = metalfaiss.read_index(path)
    xq = mx.array(vectors(6, 5))
    for index in (mapped, plain):
        assert index.search(xq, 3)[1].shape == (6, 3)
    found = [mx.grad(lambda q, i=index: i.search(q, 3)[0].sum())(xq) for index in (mapped, plain)]
    np.testing.assert_array_equal(np.array(found[0]), np.array(found[1]))


def test_it_outlives_its_name(path: str) -> None:
    index = metalfaiss.read_index(path, metalfaiss.IO_FLAG_MMAP)
    os.unlink(path)
    lazy = index.search(mx.array(vectors(300)), 1)[1]
    del index
    assert (np.array(lazy)[:, 0] == np.arange(300)).all()


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)


@pytest.mark.skipif(mx.default_device() == mx.gpu, reason="MLX copies what lies in the memory of the host")
def test_ten_gigabytes_open_in_no_time(tmp_path: Path) -> None:
    d, n = 1024, 2_600_000
    path = tmp_path / "huge.faiss"
    with open(path, "wb") as file:
        file.write(struct.pack("<4siqqqBiQ", b"IxF2", d, n, 1 << 20, 1 << 20, 1, 1, n * d))
        file.truncate(45 + 4 * n * d)
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("the file system has no sparse files")
    before, started = peak_kib(), time.perf_counter()
    index: Any = metalfaiss.read_index(str(path), metalfaiss.IO_FLAG_MMAP)
    took = time.perf_counter() - started
    assert index.ntotal == n
    assert took < 0.5  # milliseconds; the bound is for a machine that is busy
    assert peak_kib() - before < 4096
    assert not index.reconstruct(n - 1).any()
    del index
