"""Inverted lists in a file of their own, and FAISS's first formats."""

from __future__ import annotations

import copy
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from faiss.contrib.ondisk import merge_ondisk as merge_of_faiss
from tests.files.oracle import content, vectors
from tests.files.test_types import check_equal

import metalfaiss
from metalfaiss.contrib.ondisk import merge_ondisk

MERGE = {faiss: merge_of_faiss, metalfaiss: merge_ondisk}


def trained(factory: str = "IVF8,Flat") -> Any:
    index = faiss.index_factory(16, factory)
    index.train(vectors(300, 1))
    return index


def merged(lib: Any, folder: Path, shift_ids: bool = False, factory: str = "IVF8,Flat") -> Any:
    """An index whose lists lie in <folder>/lists, of three blocks of vectors."""
    empty = content(trained(factory))
    names = []
    for i in range(3):
        block = faiss.deserialize_index(np.frombuffer(empty, np.uint8))
        rows = vectors(300)[i * 100 : (i + 1) * 100]
        block.add(rows) if shift_ids else block.add_with_ids(rows, np.arange(i * 100, (i + 1) * 100))
        names.append(str(folder / f"block{i}"))
        faiss.write_index(block, names[-1])
    index = lib.deserialize_index(np.frombuffer(empty, np.uint8))
    MERGE[lib](index, names, str(folder / "lists"), shift_ids)
    return index


@pytest.mark.parametrize("shift_ids", [False, True])
@pytest.mark.parametrize("factory", ["IVF8,Flat", "PCA8,IVF8,SQ8"])
def test_files_of_faiss_are_read_and_written(tmp_path: Path, shift_ids: bool, factory: str) -> None:
    theirs = merged(faiss, tmp_path, shift_ids, factory)
    faiss.write_index(theirs, str(tmp_path / "theirs"))
    lists = (tmp_path / "lists").read_bytes()
    ours = metalfaiss.read_index(str(tmp_path / "theirs"))
    check_equal(ours, faiss.read_index(str(tmp_path / "theirs")))
    assert type(metalfaiss.extract_index_ivf(ours).invlists).__name__ == "OnDiskInvertedLists"
    made = merged(metalfaiss, tmp_path, shift_ids, factory)
    assert (tmp_path / "lists").read_bytes() == lists
    metalfaiss.write_index(made, str(tmp_path / "ours"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    check_equal(made, faiss.read_index(str(tmp_path / "ours")))
    check_equal(ours, faiss.read_index(str(tmp_path / "ours")))


def test_changes_reach_the_file_when_the_index_is_written(tmp_path: Path) -> None:
    index = merged(metalfaiss, tmp_path)
    lists, path = tmp_path / "lists", str(tmp_path / "index")
    before = lists.read_bytes()
    copies = [copy.deepcopy(index), metalfaiss.clone_index(index), pickle.loads(pickle.dumps(index))]
    index.add(vectors(50, 9))
    assert index.remove_ids(np.arange(20)) == 20
    assert lists.read_bytes() == before
    wanted = index.search(vectors(9, 5), 5)
    metalfaiss.write_index(index, path)
    assert lists.stat().st_size == index.invlists.totsize == (300 + 50 - 20) * (64 + 8)
    for again in (metalfaiss.read_index(path), faiss.read_index(path)):
        np.testing.assert_array_equal(again.search(vectors(9, 5), 5)[1], wanted[1])
    for copied in copies:  # they hold the old file
        np.testing.assert_array_equal(copied.reconstruct_n(0, 300), vectors(300))
    with pytest.raises(RuntimeError, match="trained_index must be without vectors"):
        merge_ondisk(index, [], str(lists))
    alone = metalfaiss.OnDiskInvertedLists(8, 64, tmp_path / "alone")
    assert alone.merge_from_1(index.invlists) == 330
    assert alone.merge_from_1(index.invlists) == 660
    alone.permute_invlists(np.arange(8)[::-1].copy())
    alone.flush()
    np.testing.assert_array_equal(alone.get_ids(7), np.tile(index.invlists.get_ids(0), 2))


def test_beside_the_index(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    index = merged(metalfaiss, tmp_path / "a")
    metalfaiss.write_index(index, str(tmp_path / "a" / "index"))
    os.rename(tmp_path / "a", tmp_path / "b")
    path = str(tmp_path / "b" / "index")
    with pytest.raises(FileNotFoundError):
        metalfaiss.read_index(path)
    again = metalfaiss.read_index(path, metalfaiss.IO_FLAG_ONDISK_SAME_DIR)
    np.testing.assert_array_equal(again.reconstruct_n(0, 300), vectors(300))


def test_lists_beyond_the_file(tmp_path: Path) -> None:
    metalfaiss.write_index(merged(metalfaiss, tmp_path), str(tmp_path / "index"))
    written = (tmp_path / "index").read_bytes()
    at = written.index(b"ilod") + 4 + 16 + 8  # of the first list: its size, capacity and offset
    for field, value in ((0, 2**63), (1, 2**61), (1, 0), (2, 2**64 - 8), (2, 10**6)):
        bad = bytearray(written)
        bad[at + 8 * field : at + 8 * field + 8] = struct.pack("<Q", value)
        with pytest.raises(metalfaiss.IndexFileError, match="Lists must lie in the 21600 bytes of"):
            metalfaiss.deserialize_index(bytes(bad))
    with open(tmp_path / "lists", "r+b") as file:
        file.truncate(21599)
    with pytest.raises(metalfaiss.IndexFileError, match="21599 bytes"):
        metalfaiss.read_index(str(tmp_path / "index"))


def in_the_first_format(index: Any, fourcc: bytes) -> bytes:
    """The present file of a faiss index, rewritten as FAISS wrote it before it had inverted lists of their own."""
    written = content(index)
    lists = [index.invlists.list_size(i) for i in range(index.nlist)]
    ids = [faiss.rev_swig_ptr(index.invlists.get_ids(i), n).tobytes() for i, n in enumerate(lists)]
    size = index.code_size
    codes = [faiss.rev_swig_ptr(index.invlists.get_codes(i), n * size).tobytes() for i, n in enumerate(lists)]
    unit = 4 if fourcc == b"IvFl" else 1
    begin, end = written.index(content(index.quantizer)) + len(content(index.quantizer)), written.index(b"ilar")
    all_ids = b"".join(struct.pack("<Q", len(i) // 8) + i for i in ids)
    all_codes = b"".join(struct.pack("<Q", len(c) // unit) + c for c in codes)
    middle = written[begin:end]  # the direct map, and what the type has of its own
    if fourcc == b"IvSQ":
        middle = middle[:-1]  # by_residual
    return fourcc + written[4:begin] + all_ids + middle + all_codes


@pytest.mark.parametrize(("fourcc", "factory"), [(b"IvFl", "IVF8,Flat"), (b"IvFL", "IVF8,Flat"), (b"IvSQ", "IVF8,SQ8")])
def test_first_formats(fourcc: bytes, factory: str) -> None:
    theirs = trained(factory)
    theirs.add(vectors(300))
    theirs.nprobe = 3
    old = np.frombuffer(in_the_first_format(theirs, fourcc), np.uint8)
    check_equal(metalfaiss.deserialize_index(old), faiss.deserialize_index(old))
    assert metalfaiss.serialize_index(metalfaiss.deserialize_index(old)).tobytes() == content(theirs)
    bad = old.copy()
    bad[
        bytes(old).rindex(
            struct.pack("<Q", theirs.invlists.list_size(7) * theirs.code_size // (4 if fourcc == b"IvFl" else 1))
        )
    ] ^= 4
    with pytest.raises(metalfaiss.IndexFileError):
        metalfaiss.deserialize_index(bad)


@pytest.mark.skipif(sys.platform != "linux", reason="the order is that of FAISS's C++ library, libstdc++")
@pytest.mark.parametrize("built", [False, True])
def test_entries_of_a_hash_table_keep_their_order(built: bool) -> None:
    theirs = trained()
    theirs.set_direct_map_type(faiss.DirectMap.Hashtable)
    if built:
        theirs.add_with_ids(vectors(300), np.random.default_rng(0).permutation(10**6)[:300])
    ours = metalfaiss.deserialize_index(content(theirs))
    if built:
        theirs = faiss.deserialize_index(np.frombuffer(content(theirs), np.uint8))
    else:
        ids = np.random.default_rng(1).permutation(10**6)[:300]
        for index in (ours, theirs):
            index.add_with_ids(vectors(300), ids)
    assert metalfaiss.serialize_index(ours).tobytes() == content(theirs)
