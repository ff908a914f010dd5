"""What ends a search of inverted lists early, and what searches count: as faiss-cpu, for both metrics."""

from __future__ import annotations

from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss

rng = np.random.default_rng(0)
XB = rng.standard_normal((2000, 8)).astype(np.float32)
XQ = rng.standard_normal((70, 8)).astype(np.float32)
CODES = rng.integers(0, 256, (500, 8), dtype=np.uint8)
LIMITS: list[dict[str, Any]] = [
    {},
    {"max_codes": 100},
    {"max_codes": 300, "nprobe": 3},
    {"sel": True},
    {"sel": True, "max_codes": 300},
    {"max_codes": 3, "ensure_topk_full": True},
    {"max_codes": 300, "sel": True, "ensure_topk_full": True},
    {"ensure_topk_full": True},
    {"max_lists_num": 2},
    {"max_empty_result_buckets": 1},
    {"max_empty_result_buckets": 3, "sel": True, "max_codes": 9},
]


@pytest.fixture(scope="module", params=["Flat", "SQ8"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    theirs = faiss.index_factory(8, f"IVF16,{request.param}")
    theirs.train(XB)
    theirs.add(XB)
    return metalfaiss.deserialize_index(faiss.serialize_index(theirs)), theirs


def counted(lib: Any, search: Any) -> tuple[Any, list[int]]:
    stats = lib.cvar.indexIVF_stats
    stats.reset()
    assert stats.nq == stats.ndis == stats.search_time == 0
    found = search()
    assert stats.search_time > 0
    return found, [stats.nq, stats.nlist, stats.ndis]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_limits_as_faiss(pair: tuple[Any, Any], limits: dict[str, Any]) -> None:
    found, within = [], []
    for lib, index in zip((metalfaiss, faiss), pair, strict=True):
        sel = lib.IDSelectorBatch(np.arange(0, 2000, 3)) if "sel" in limits else None
        params = lib.SearchParametersIVF(**({"nprobe": 8} | limits | {"sel": sel}))
        found.append(counted(lib, lambda i=index, p=params: i.search(XQ, 10, params=p)))
        within.append(counted(lib, lambda i=index, p=params: i.range_search(XQ, 1.0, params=p)))
        assert lib.cvar.indexIVF_stats.nheap_updates == 0  # a range search has no heap
    (D, I), counts = found[0]
    np.testing.assert_allclose(D, found[1][0][0], rtol=1e-4)
    assert (found[1][0][1] != I).mean() < 0.02
    assert counts == found[1][1]
    np.testing.assert_array_equal(within[0][0][0], within[1][0][0])
    assert within[0][1] == within[1][1]


def test_every_kind_of_search_counts(pair: tuple[Any, Any]) -> None:
    lists = np.random.default_rng(1).integers(-1, 16, (70, 4))
    searches = [
        lambda i: i.search(XQ[:2], 5),
        lambda i: i.search_and_reconstruct(XQ, 5),
        lambda i: i.search_preassigned(XQ, 5, lists, np.zeros(lists.shape, np.float32)),
        lambda i: i.range_search_preassigned(XQ, 1.0, lists, np.zeros(lists.shape, np.float32)),
    ]
    for index in pair:
        index.nprobe = 4
    for search in searches:
        totals = []
        for lib, index in zip((metalfaiss, faiss), pair, strict=True):
            lib.cvar.indexIVF_stats.reset()
            search(index)
            stats = lib.cvar.indexIVF_stats
            totals.append([stats.nq, stats.nlist, stats.ndis])
        assert totals[0] == totals[1]
    stats = metalfaiss.cvar.indexIVF_stats
    stats.reset()
    lazy = pair[0].search(mx.array(XQ), 5)
    assert stats.nq == 0, "nothing has run yet"
    mx.eval(lazy)
    assert stats.nq == 70
    pair[0].search(XQ[:2], 5)
    assert stats.search_time > 0
    if mx.default_device() == mx.cpu:  # on a GPU the lists are found there, and nobody waits for it
        assert stats.search_time > stats.quantization_time > 0
    assert 10 <= stats.nheap_updates <= stats.ndis


def test_binary_lists() -> None:
    totals, distances = [], []
    for lib in (metalfaiss, faiss):
        quantizer = lib.IndexBinaryFlat(64)
        quantizer.add(CODES[:8])
        index = lib.IndexBinaryIVF(quantizer, 64, 8)
        index.add(CODES)
        index.nprobe, index.max_codes = 3, 50
        (D, _), counts = counted(lib, lambda i=index: i.search(CODES[:7], 4))
        within, more = counted(lib, lambda i=index: i.range_search(CODES[:7], 27))
        totals.append((counts, more, within[0].tolist()))
        distances.append(D)
        if lib is metalfaiss:
            with pytest.raises(ValueError, match="must be False and 0 for lists of binary codes"):
                index.search(CODES, 3, params=lib.SearchParametersIVF(ensure_topk_full=True))
    assert totals[0] == totals[1]
    np.testing.assert_array_equal(*distances)


def test_statistics_add_up() -> None:
    for lib in (metalfaiss, faiss):
        a, b = lib.IndexIVFStats(), lib.IndexIVFStats()
        a.nq, a.search_time, b.nq, b.ndis = 3, 0.5, 4, 7
        a.add(b)
        assert (a.nq, a.ndis, a.search_time, a.nheap_updates) == (7, 7, 0.5, 0)
        a.reset()
        assert (a.nq, a.search_time) == (0, 0)


def test_errors(pair: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="max_empty_result_buckets must be at least 0"):
        pair[0].range_search(XQ, 1.0, params=metalfaiss.SearchParametersIVF(max_empty_result_buckets=-1))
    with pytest.raises(TypeError, match="inverted_list_context must be None"):
        metalfaiss.SearchParametersIVF(inverted_list_context=3)
