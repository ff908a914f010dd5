"""Inverted lists and direct maps: against FAISS's, and what snapshots promise."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import faiss
import numpy as np
import pytest

from metalfaiss import ArrayInvertedLists, DirectMap, IDSelectorBatch, IDSelectorRange, _core

NLIST, CODE_SIZE = 5, 3


def entries(n: int, seed: int = 0, first: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, CODE_SIZE), dtype=np.uint8)
    return rng.integers(0, NLIST - 1, n), np.arange(first, first + n), codes  # the last list stays empty


def contents(lists: Any) -> list[tuple[list[int], list[list[int]]]]:
    if isinstance(lists, ArrayInvertedLists):
        return [(lists.get_ids(i).tolist(), lists.get_codes(i).tolist()) for i in range(lists.nlist)]
    out: list[tuple[list[int], list[list[int]]]] = []
    for i in range(lists.nlist):
        n = lists.list_size(i)
        ids = faiss.rev_swig_ptr(lists.get_ids(i), n).tolist() if n else []
        codes = faiss.rev_swig_ptr(lists.get_codes(i), n * CODE_SIZE).reshape(n, CODE_SIZE).tolist() if n else []
        out.append((ids, codes))
    return out


def pair(n: int = 60) -> tuple[ArrayInvertedLists, Any]:
    ours, theirs = ArrayInvertedLists(NLIST, CODE_SIZE), faiss.ArrayInvertedLists(NLIST, CODE_SIZE)
    for assign, id_, code in zip(*entries(n), strict=True):
        assert ours.add_entry(int(assign), int(id_), code) == theirs.add_entry(
            int(assign), int(id_), faiss.swig_ptr(code)
        )
    return ours, theirs


def test_entries_against_faiss() -> None:
    ours, theirs = pair()
    assert contents(ours) == contents(theirs)
    assert ours.compute_ntotal() == theirs.compute_ntotal() == 60
    assert ours.imbalance_factor() == pytest.approx(theirs.imbalance_factor())
    _, ids, codes = entries(4, seed=1, first=100)
    ours.add_entries(2, ids[:3], codes[:3])
    ours.add_entries(2, 1, ids[3:], codes[3:].reshape(-1))
    theirs.add_entries(2, 4, faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    ours.update_entries(1, 2, 2, ids, codes)
    theirs.update_entries(1, 2, 2, faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    ours.update_entry(0, 1, 77, codes[3])
    theirs.update_entry(0, 1, 77, faiss.swig_ptr(codes[3].copy()))
    ours.resize(3, 4)
    theirs.resize(3, 4)
    assert contents(ours) == contents(theirs)
    assert ours.get_single_id(0, 1) == 77
    ours.prefetch_lists([0, 1], 2)
    kept = ours.get_ids(0)
    ours.release_ids(0, kept)
    ours.release_codes(0, ours.get_codes(0))
    assert kept[1] == 77
    assert ours.get_single_code(0, 1).tolist() == codes[3].tolist()
    assert ours.is_empty(4)
    ours.resize(4, 2)
    assert contents(ours)[4] == ([-1, -1], [[0] * CODE_SIZE] * 2)
    ours.reset()
    assert ours.compute_ntotal() == 0


@pytest.mark.parametrize(("kind", "a1", "a2"), [(0, 10, 40), (1, 3, 1), (2, 7, 33), (3, 3, 1), (4, 1, 3)])
def test_copy_subset_and_merge(kind: int, a1: int, a2: int) -> None:
    (ours, theirs), (target, their_target) = pair(), pair(9)
    assert ours.copy_subset_to(target, kind, a1, a2) == theirs.copy_subset_to(their_target, kind, a1, a2)
    assert contents(target) == contents(their_target)
    ours.merge_from(target, 1000)
    theirs.merge_from(their_target, 1000)
    assert contents(ours) == contents(theirs)
    assert target.compute_ntotal() == 0


def test_bulk_add_and_permute() -> None:
    ours, theirs = pair()
    lists = ArrayInvertedLists(NLIST, CODE_SIZE)
    assign, ids, codes = entries(60)
    for part in (slice(0, 7), slice(7, 8), slice(8, 60)):
        places = lists._native.add(assign[part], ids[part], codes[part])
        assert [lists.get_single_id(int(p) >> 32, int(p) & 0xFFFFFFFF) for p in places] == ids[part].tolist()
    assert contents(lists) == contents(ours)
    order = np.array([3, 1, 4, 0, 2])
    lists.permute_invlists(order)
    theirs.permute_invlists(faiss.swig_ptr(order))
    assert contents(lists) == contents(theirs)
    skipped = lists._native.add(np.array([-1, 0]), np.array([500, 501]), codes[:2])
    assert skipped[0] == -1
    assert 500 not in lists.get_ids(0)


def test_remove_as_faiss_does() -> None:
    x, ids = np.random.default_rng(0).random((60, 2), dtype=np.float32), np.arange(60)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(2), 2, 4)
    index.train(x)
    index.add(x)
    lists = ArrayInvertedLists(4, 8)
    lists._native.add(index.quantizer.assign(x, 1)[:, 0], ids, x.view(np.uint8))
    gone = np.array([3, 7, 8, 9, 20, 59, 1000])
    before = lists.get_ids(0)
    kept = before.copy()
    assert index.remove_ids(gone) == lists._native.remove(IDSelectorBatch(gone)._native) == 6
    theirs = faiss.downcast_InvertedLists(index.invlists)
    for i in range(4):
        np.testing.assert_array_equal(lists.get_ids(i), faiss.rev_swig_ptr(theirs.get_ids(i), theirs.list_size(i)))
    np.testing.assert_array_equal(before, kept)
    assert lists._native.remove(IDSelectorRange(0, 1000)._native) == 54


def test_views_and_copies_do_not_change() -> None:
    lists, _ = pair()
    views = [(lists.get_ids(i), lists.get_codes(i)) for i in range(NLIST)]
    values = copy.deepcopy(views)
    other = copy.copy(lists)
    assert not views[0][0].flags.writeable
    _, ids, codes = entries(20, seed=2, first=200)
    for target, id_ in ((lists, 0), (other, 1)):  # both grow from the same lists
        target.add_entries(0, ids[id_ : id_ + 5], codes[:5])
        target.update_entry(1, 0, 900 + id_, codes[id_])
        target.resize(2, 1)
        target.add_entries(2, ids[:1] + id_, codes[:1])
        target._native.remove_at(3, 0)
    assert contents(lists) != contents(other)
    assert lists.get_ids(0)[-5:].tolist() == ids[:5].tolist()
    assert other.get_ids(0)[-5:].tolist() == ids[1:6].tolist()
    assert (lists.get_ids(2)[1], other.get_ids(2)[1]) == (200, 201)
    for view, value in zip(views, values, strict=True):
        np.testing.assert_array_equal(view[0], value[0])
        np.testing.assert_array_equal(view[1], value[1])


def test_pickle() -> None:
    lists, _ = pair()
    again = pickle.loads(pickle.dumps(lists))
    assert contents(again) == contents(lists)
    assert contents(copy.deepcopy(lists)) == contents(lists)
    assert repr(again) == "ArrayInvertedLists(5, 3, ntotal=60)"


def test_readers_while_one_adds() -> None:
    lists, stop, wrong = ArrayInvertedLists(2, 8), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            ids, codes = lists.get_ids(1), lists.get_codes(1)
            n = min(ids.size, len(codes))
            if not np.array_equal(codes[:n].view(np.int64)[:, 0], ids[:n]):
                wrong.append(n)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for first in range(0, 4000, 10):
        ids = np.arange(first, first + 10)
        lists.add_entries(1, ids, ids[:, None].view(np.uint8).reshape(10, 8))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_print_stats(capsys: pytest.CaptureFixture[str]) -> None:
    lists = ArrayInvertedLists(4, 1)
    lists.add_entries(1, [1, 2, 3], np.zeros((3, 1), np.uint8))
    lists.print_stats()
    assert capsys.readouterr().out.splitlines() == [
        "list size distribution, nlist = 4, entries = 3:",
        "  [0, 1): 3",
        "  [2, 4): 1",
    ]


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda l: l.list_size(5), r"\[ArrayInvertedLists.list_size\] list_no must be at most 4."),
        (ValueError, lambda l: l.add_entries(0, [1], np.zeros((1, 2), np.uint8)), r"codes \(n, 3\)"),
        (ValueError, lambda l: l.add_entries(0, 2, [1, 2], np.zeros(3, np.uint8)), "code must have 6 elements"),
        (TypeError, lambda l: l.add_entries(0, [1]), "n, ids and codes. Received 1"),
        (TypeError, lambda l: l.add_entries(0, [1], np.zeros((1, 3))), "uint8. Received int64 and float64"),
        (ValueError, lambda l: l.update_entry(0, 99, 1, [1, 2, 3]), "offset must be at most"),
        (ValueError, lambda l: l.merge_from(ArrayInvertedLists(4, 3)), "nlist 5 and code_size 3"),
        (ValueError, lambda l: l.merge_from(l), "others of nlist 5"),
        (ValueError, lambda l: l.permute_invlists([0, 1, 2, 3, 3]), "permutation of 0 to 4"),
        (ValueError, lambda l: l.copy_subset_to(ArrayInvertedLists(5, 3), 9, 0, 0), "from 0 to 4. Received 9"),
        (ValueError, lambda l: l.add_entries(9, [1], np.zeros((1, 3), np.uint8)), "list_no must be at most 4"),
    ],
)
def test_errors(kind: type[Exception], call: Any, message: str) -> None:
    lists, _ = pair()
    before = contents(lists)
    with pytest.raises(kind, match=message):
        call(lists)
    assert contents(lists) == before


def test_direct_map() -> None:
    lists, _ = pair(20)
    direct = DirectMap()
    assert direct.no()
    with pytest.raises(RuntimeError, match="must have a direct map"):
        direct.get(3)
    for kind in (DirectMap.Array, DirectMap.Hashtable):
        direct._native.set_type(kind, lists._native, 20)
        for again in (direct, copy.copy(direct), pickle.loads(pickle.dumps(direct))):
            assert again.type == kind
            for i in range(20):
                place = again.get(i)
                assert lists.get_single_id(place >> 32, place & 0xFFFFFFFF) == i
            with pytest.raises(RuntimeError, match=r"must be stored\. Received 20"):
                again.get(20)
    assert direct.hashtable == {i: direct.get(i) for i in range(20)}
    lists.add_entries(0, [99], np.zeros((1, CODE_SIZE), np.uint8))
    with pytest.raises(ValueError, match=r"ids 0 to 20\. Received id 99"):
        direct._native.set_type(DirectMap.Array, lists._native, 21)
    assert direct.type == DirectMap.Hashtable
    assert isinstance(direct._native, _core.DirectMap)
