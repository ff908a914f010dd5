"""Stacks, slices and masks of inverted lists: as faiss-cpu shows them, and searched by an index."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import faiss
import numpy as np
import pytest

import metalfaiss

rng = np.random.default_rng(0)
XB = rng.standard_normal((600, 6)).astype(np.float32)
XQ = rng.standard_normal((70, 6)).astype(np.float32)
BASE = faiss.index_factory(6, "IVF8,Flat")
BASE.train(XB)
EMPTY = faiss.serialize_index(BASE)


KEPT = []  # FAISS's views do not keep what they show


def kept(lists: Any) -> Any:
    KEPT.append(lists)
    return lists


def index(lib: Any, first: int, last: int) -> Any:
    out = lib.deserialize_index(EMPTY)
    out.nprobe = 3
    out.add_with_ids(XB[first:last], np.arange(first, last))
    return out


def stacked(lib: Any, kind: str, *parts: Any) -> Any:
    ils = lib.InvertedListsPtrVector()
    for part in parts:
        ils.push_back(part)
    return getattr(lib, kind)(ils.size(), ils.data())


VIEWS = {
    "hstack": lambda lib, a, b: stacked(lib, "HStackInvertedLists", a, b, a),
    "vstack": lambda lib, a, b: stacked(lib, "VStackInvertedLists", a, b),
    "slice": lambda lib, a, b: lib.SliceInvertedLists(a, 2, 5),
    "masked": lambda lib, a, b: lib.MaskedInvertedLists(kept(lib.StopWordsInvertedLists(a, 45)), b),
    "stop words": lambda lib, a, b: lib.StopWordsInvertedLists(a, 45),
    "capped": lambda lib, a, b: lib.CappedInvertedLists(a, 30),
    "nested": lambda lib, a, b: lib.SliceInvertedLists(kept(stacked(lib, "HStackInvertedLists", a, b)), 1, 4),
}


def shown(lib: Any, lists: Any) -> list[tuple[list[int], bytes]]:
    out = []
    for i in range(lists.nlist):
        n = lists.list_size(i)
        if lib is metalfaiss:
            out.append((lists.get_ids(i).tolist(), lists.get_codes(i).tobytes()))
        else:
            ids, codes = (f(i) for f in (lists.get_ids, lists.get_codes))
            ids = lib.rev_swig_ptr(ids, n).tolist() if n else []
            out.append((ids, lib.rev_swig_ptr(codes, n * lists.code_size).tobytes() if n else b""))
    return out


@pytest.mark.parametrize("name", VIEWS)
def test_views_as_faiss(name: str) -> None:
    results, distances = [], []
    for lib in (metalfaiss, faiss):
        a, b = index(lib, 0, 350), index(lib, 350, 600)
        view = VIEWS[name](lib, a.invlists, b.invlists)
        before = (view.nlist, view.code_size, view.compute_ntotal(), shown(lib, view))
        a.add_with_ids(XB[:40], np.arange(1000, 1040))  # views show what their parts are now
        after = shown(lib, view)
        found = None
        if view.nlist == a.nlist:
            searched = lib.IndexIVFFlat(a.quantizer, 6, 8)
            searched.replace_invlists(view)
            searched.nprobe = 3
            D, I = searched.search(XQ, 5)
            distances.append(D)
            found = (np.sort(I).tolist(), searched.range_search(XQ, 1.0)[0].tolist())
        results.append((before, after, found))
    assert results[0] == results[1]
    if distances:
        np.testing.assert_allclose(*distances, rtol=1e-4)


def test_views_are_read_only_or_pass_changes_on() -> None:
    whole = index(metalfaiss, 0, 600)
    searched = metalfaiss.IndexIVFFlat(whole.quantizer, 6, 8)
    searched.replace_invlists(metalfaiss.StopWordsInvertedLists(whole.invlists, 10**9))
    before = whole.ntotal
    for change in (
        lambda: searched.add(XB),
        lambda: searched.remove_ids(np.arange(3)),
        lambda: searched.invlists.resize(0, 0),
        lambda: searched.invlists.reset(),
        lambda: searched.invlists.add_entries(0, [1], np.zeros((1, 24), np.uint8)),
        lambda: whole.invlists.merge_from(metalfaiss.StopWordsInvertedLists(index(metalfaiss, 0, 9).invlists, 9)),
    ):
        with pytest.raises(RuntimeError, match="read-only"):
            change()
    assert whole.invlists.compute_ntotal() == before
    assert searched.ntotal == 0
    capped = metalfaiss.CappedInvertedLists(whole.invlists, 20)
    searched.replace_invlists(capped)
    searched.add(XB[:5])
    assert whole.invlists.compute_ntotal() == before + 5
    assert capped.compute_ntotal() == 160
    assert capped.real_list_size(0) == whole.invlists.list_size(0)


def test_copies_and_files_are_plain_lists() -> None:
    a, b = index(metalfaiss, 0, 350), index(metalfaiss, 350, 600)
    searched = metalfaiss.IndexIVFFlat(a.quantizer, 6, 8)
    searched.replace_invlists(stacked(metalfaiss, "HStackInvertedLists", a.invlists, b.invlists))
    searched.ntotal, searched.nprobe = 600, 3
    wanted = searched.search(XQ, 5)
    read = metalfaiss.deserialize_index(metalfaiss.serialize_index(searched))
    theirs = faiss.deserialize_index(metalfaiss.serialize_index(searched))
    for other in (copy.deepcopy(searched), pickle.loads(pickle.dumps(searched)), read, theirs):
        np.testing.assert_array_equal(other.search(XQ, 5)[1], wanted[1])
        other.add(XB[:1])
        assert other.ntotal == 601
    again = pickle.loads(pickle.dumps(searched.invlists))
    assert type(again) is metalfaiss.ArrayInvertedLists
    assert shown(metalfaiss, again) == shown(metalfaiss, searched.invlists)


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (ValueError, lambda a, b: metalfaiss.HStackInvertedLists(0, [a])),
        (ValueError, lambda a, b: metalfaiss.HStackInvertedLists(2, [a])),
        (ValueError, lambda a, b: metalfaiss.HStackInvertedLists(2, [a, metalfaiss.SliceInvertedLists(a, 0, 2)])),
        (ValueError, lambda a, b: metalfaiss.VStackInvertedLists(2, [a, b])),
        (TypeError, lambda a, b: metalfaiss.VStackInvertedLists(1, [3])),
        (ValueError, lambda a, b: metalfaiss.SliceInvertedLists(a, 5, 9)),
        (ValueError, lambda a, b: metalfaiss.SliceInvertedLists(a, 5, 4)),
        (ValueError, lambda a, b: metalfaiss.MaskedInvertedLists(a, b)),
        (ValueError, lambda a, b: metalfaiss.CappedInvertedLists(a, -1)),
        (TypeError, lambda a, b: metalfaiss.StopWordsInvertedLists("a", 1)),
    ],
)
def test_errors(error: type[Exception], make: Any) -> None:
    with pytest.raises(error, match=r"^\[\w+InvertedLists\]"):
        make(metalfaiss.ArrayInvertedLists(8, 24), metalfaiss.ArrayInvertedLists(8, 25))
