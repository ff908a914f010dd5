"""IndexBinaryHash and IndexBinaryMultiHash against FAISS: results, statistics, files byte for byte, hostile files."""

import contextlib
import copy
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import faiss
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metalfaiss
from metalfaiss import IDSelectorRange, IndexBinaryHash, IndexBinaryMultiHash, SearchParameters

FORMS = ["BHash2", "BHash11", "BHash64", "BHash5x7", "BHash2x33"]
STATS = metalfaiss.cvar.indexBinaryHash_stats, faiss.cvar.indexBinaryHash_stats


def codes(rng, n, d=72):
    a, b = rng.integers(0, 256, (2, n, d // 8), dtype=np.uint8)
    return a & b


def near(rng, xb, n):
    """Codes of which a sixteenth of the bits differ."""
    flips = codes(rng, n) & codes(rng, n)
    return xb[:n] ^ flips


def pair(form, d=72):
    return metalfaiss.index_binary_factory(d, form), faiss.index_binary_factory(d, form)


def filled(form, xb):
    indexes = pair(form)
    for begin in range(0, len(xb), 301):  # several segments
        for index in indexes:
            index.add(xb[begin : begin + 301])
    return indexes


def counts(stats):
    return stats.nq, stats.n0, stats.nlist, stats.ndis


def rows(lims, D, I):
    return [sorted(zip(I[a:b].tolist(), D[a:b].tolist(), strict=True)) for a, b in pairwise(lims.tolist())]


@pytest.mark.parametrize("form", FORMS)
def test_as_faiss(rng, form, simd_level):
    xb = codes(rng, 1000)
    ours, theirs = filled(form, xb)
    assert (ours.ntotal, ours.hashtable_size()) == (theirs.ntotal, theirs.hashtable_size())
    xq = near(rng, xb, 60)
    for nflip in (0, 1, 2):
        ours.nflip = theirs.nflip = nflip
        for stats in STATS:
            stats.reset()
        D, I = ours.search(xq, 7)
        np.testing.assert_array_equal(D, theirs.search(xq, 7)[0])
        assert counts(STATS[0]) == counts(STATS[1])
        assert (D.dtype, I.dtype) == (np.int32, np.int64)
        found = I >= 0
        distances = np.unpackbits(xq[:, None] ^ xb[I], axis=-1).sum(-1)
        assert (distances[found] == D[found]).all()
        assert (np.diff(D.astype(np.int64) * 2000 + np.where(found, I, 0), axis=1)[found[:, 1:]] > 0).all()
        for found_by_mlx in (ours.search(mx.array(xq), 7), mx.compile(lambda x: ours.search(x, 7))(mx.array(xq))):
            np.testing.assert_array_equal(np.array(found_by_mlx[0]), D)
            np.testing.assert_array_equal(np.array(found_by_mlx[1]), I)
        lims, *results = ours.range_search(xq, 14)
        assert rows(lims, *results) == rows(*theirs.range_search(xq, 14))
        assert all((np.diff(results[1][a:b]) > 0).all() for a, b in pairwise(lims))
        filtered = SearchParameters(sel=IDSelectorRange(100, 500))
        lims, D, I = ours.range_search(xq, 14, params=filtered)
        assert I.size <= results[1].size
        kept = [[e for e in row if 100 <= e[0] < 500] for row in rows(*theirs.range_search(xq, 14))]
        assert rows(lims, D, I) == kept
        D, I = ours.search(xq, 1000, params=SearchParameters(sel=lambda i: 100 <= i < 500))
        assert set(I[I >= 0].tolist()) <= set(range(100, 500))
        assert [sorted(i[(d < 14) & (i >= 0)].tolist()) for d, i in zip(D, I, strict=True)] == [
            [e[0] for e in row] for row in kept
        ]


def test_more_flips_than_hashes(rng):
    """Then the hashes that there are, and not all that there might be, are looked at."""
    xb = codes(rng, 200)
    ours = IndexBinaryHash(72, 64)
    ours.add(xb)
    ours.nflip = 64
    np.testing.assert_array_equal(ours.search(xb, 3)[0], metalfaiss.knn_hamming(xb, xb, 3)[0])
    with pytest.raises(ValueError, match=r"nflip must be at least 0. Received -1"):
        ours.nflip = -1


@pytest.mark.parametrize("form", FORMS)
def test_files(rng, form, tmp_path):
    xb = codes(rng, 500)
    ours, theirs = filled(form, xb)
    ours.nflip = theirs.nflip = 1

    def same():
        data = faiss.serialize_index_binary(theirs)
        assert metalfaiss.serialize_index_binary(ours).tobytes() == data.tobytes()
        return data

    for changed in range(4):
        data = same()
        metalfaiss.write_index_binary(ours, str(tmp_path / "index"))
        ours = metalfaiss.read_index_binary(str(tmp_path / "index"), metalfaiss.IO_FLAG_MMAP if changed % 2 else 0)
        theirs = faiss.deserialize_index_binary(data)
        assert ours.nflip == 1
        same()  # FAISS's order after reading is another one
        if changed == 1:
            for index in (ours, theirs):
                index.reset()
            assert ours.ntotal == 0
            same()
        for index in (ours, theirs):
            index.add(xb[changed * 10 : changed * 60])
        same()
        np.testing.assert_array_equal(ours.search(xb[:20], 4)[0], theirs.search(xb[:20], 4)[0])
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), metalfaiss.clone_binary_index(ours)):
        np.testing.assert_array_equal(copied.search(xb[:20], 4)[1], ours.search(xb[:20], 4)[1])
        copied.add(xb)
        assert copied.ntotal == ours.ntotal + 500
    ours, theirs = pair(form)
    same()


def test_one_hash_for_all_of_a_power_of_two():
    """FAISS writes the size in too few bits, and cannot read its file."""
    ours = IndexBinaryMultiHash(16, 2, 8)
    ours.add(np.zeros((16, 2), np.uint8))
    data = metalfaiss.serialize_index_binary(ours)
    for read in (metalfaiss.deserialize_index_binary, faiss.deserialize_index_binary):
        assert (read(data).search(np.zeros((1, 2), np.uint8), 16)[1] >= 0).all()


def test_ids(rng):
    xb, ids = codes(rng, 300), 7 * np.arange(300)[::-1] - 50
    ours, theirs = pair("BHash5")
    for index in (ours, theirs):
        index.add_with_ids(xb, ids)
    np.testing.assert_array_equal(ours.search(xb, 1)[1][:, 0], ids)
    assert metalfaiss.serialize_index_binary(ours).tobytes() == faiss.serialize_index_binary(theirs).tobytes()
    params = SearchParameters(sel=lambda i: i < 0)
    assert ours.search(xb[-1:], 300, params=params)[1].max() < 0
    with pytest.raises(RuntimeError, match=r"supports add_with_ids"):
        pair("BHash2x5")[0].add_with_ids(xb, ids)
    mapped = metalfaiss.IndexBinaryIDMap2(IndexBinaryMultiHash(72, 3, 8))
    mapped.add_with_ids(xb, ids)
    np.testing.assert_array_equal(mapped.search(xb, 1)[1][:, 0], ids)
    np.testing.assert_array_equal(mapped.reconstruct(int(ids[3])), xb[3])


def test_threads_and_changes(rng):
    """A search sees all codes of an add, or none; codes that were there are always found."""
    xb = codes(rng, 2000)
    for form in ("BHash6", "BHash3x6"):
        index = pair(form)[0]
        index.add(xb[:100])
        with ThreadPoolExecutor(3) as pool:
            searches = [pool.submit(index.search, xb[:100], 1) for _ in range(40)]
            for begin in range(100, 2000, 50):
                index.add(xb[begin : begin + 50])
            for search in searches:
                D, I = search.result()
                assert not D.any()
                assert (I[:, 0] >= 0).all()
        lazy = index.search(mx.array(xb[:5]), 2)
        want = index.search(xb[:5], 2)
        index.reset()
        np.testing.assert_array_equal(np.array(lazy[1]), want[1])


def test_attributes_and_errors(rng, capsys):
    index = IndexBinaryHash(16, 3)
    assert repr(index) == "IndexBinaryHash(d=16, b=3, nflip=0, ntotal=0)"
    index.add(np.array([[1, 2], [9, 0], [2, 0]], np.uint8))
    index.display()
    assert sorted(capsys.readouterr().out.splitlines()) == ["1: [0 1]", "2: [2]"]
    multi = IndexBinaryMultiHash(16, 2, 8)
    assert repr(multi) == "IndexBinaryMultiHash(d=16, nhash=2, b=8, nflip=0, ntotal=0)"
    assert isinstance(multi.storage, metalfaiss.IndexBinaryFlat)
    for make in (lambda: IndexBinaryHash(8, 9), lambda: IndexBinaryMultiHash(16, 3, 8)):
        with pytest.raises(ValueError, match=r"d must be at least"):
            make()
    for make in (lambda: IndexBinaryHash(80, 65), lambda: IndexBinaryHash(8, 0)):
        with pytest.raises(ValueError, match=r"b must be at (most 64|least 1)"):
            make()
    with pytest.raises(ValueError, match=r"k must be at least 1"):
        index.search(np.zeros((1, 2), np.uint8), 0)
    with pytest.raises(ValueError, match=r"must be a CPU stream"):
        index.search(np.zeros((1, 2), np.uint8), 1, stream=mx.gpu)
    for call in (
        lambda: index.remove_ids([0]),
        lambda: index.reconstruct(0),
        lambda: index.merge_from(copy.copy(index)),
    ):
        with pytest.raises(RuntimeError, match=r"supports"):
            call()


FILES = {}
for _form in ("BHash4", "BHash2x9"):
    _index = metalfaiss.index_binary_factory(24, _form)
    _index.add(np.random.default_rng(0).integers(0, 256, (30, 3), dtype=np.uint8))
    FILES[_form] = metalfaiss.serialize_index_binary(_index).tobytes()


def accepted_or_refused(data):
    with contextlib.suppress(metalfaiss.IndexFileError, NotImplementedError):
        index = metalfaiss.deserialize_index_binary(data)
        metalfaiss.serialize_index_binary(index)
        if index.nflip < 3:
            index.search(np.zeros((1, index.code_size), np.uint8), 2)


@pytest.mark.parametrize("form", FILES)
def test_every_cut(form):
    for n in range(len(FILES[form])):
        with pytest.raises(metalfaiss.IndexFileError):
            metalfaiss.deserialize_index_binary(FILES[form][:n])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_flips(form, data):
    changed = bytearray(FILES[form])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(changed), 80) - 1) | st.integers(0, len(changed) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
    accepted_or_refused(bytes(changed))
    at = data.draw(st.integers(0, len(changed) - 8))
    number = data.draw(st.sampled_from([-1, -(2**63), 2**63 - 1, 2**62, 2**32, 2**31, 2**20]))
    accepted_or_refused(FILES[form][:at] + struct.pack("<q", number) + FILES[form][at + 8 :])


def test_what_cannot_be(rng):
    def refused(form, at, format, value, match):
        data = bytearray(FILES[form])
        struct.pack_into(format, data, at, value)
        with pytest.raises(metalfaiss.IndexFileError, match=match):
            metalfaiss.deserialize_index_binary(bytes(data))

    refused("BHash4", 12, "<q", 29, "Hashes must have entries, and no more than ntotal")
    refused("BHash4", 12, "<q", 31, "Hashes must have ntotal entries")
    refused("BHash4", 25, "<i", 65, "b must be at most 64")
    refused("BHash4", 29, "<i", -1, "nflip must be at least 0")
    refused("BHash4", 33, "<q", 31, "file must have|at most ntotal hashes")
    refused("BHash4", 41, "<i", 64, "bits of a number must be from 0 to 63")
    refused("BHash2x9", 12, "<q", 31, "storage must be an IndexBinaryFlat of 31 codes")
