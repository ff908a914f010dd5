"""Faults planted in metal/knn.metal and metal/knn_exact.metal, and what they include."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from oracles.search import check

from metalfaiss import METRIC_L2

from ..knn_limits import limits
from . import WRONG_RESULT, Fault


def _normal(*shape: int) -> Any:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def one_query() -> None:
    """Several slabs, full buffers, a last round with few rows."""
    with limits(threadgroups=2):
        check(_normal(1, 40), _normal(1301, 40), 5)


def few_queries() -> None:
    xq, xb = _normal(3, 9), _normal(1301, 9)
    xb[-1] = xq[0]  # what is read behind the last row would be near as well
    with limits(threadgroups=3):
        check(xq, xb, 10)


def products() -> None:
    """Several chunks and segments."""
    with limits(few_queries=1, few_products=1, scratch=100_000, threadgroups=4):
        check(_normal(3, 33), _normal(2701, 33), 10)


def products_of_few_rows() -> None:
    with limits(few_queries=1, few_products=1):
        check(_normal(3, 33), _normal(3, 33), 2)


def scan_of_few() -> None:
    """A sample of one tile of six, and lists of what is below its threshold."""
    with limits(few_products=1, scan_products=1, scan_columns=32, scan_capacity=256, threadgroups=4):
        check(_normal(2, 9), _normal(1301, 9), 10)


def padded() -> None:
    check(_normal(2, 4), _normal(3, 4), 7)


def equals() -> None:
    """More equals than a list holds: searched again, over two slabs."""
    xb = _normal(700, 5)
    xb[50:650] = xb[50]
    with limits(threadgroups=2):
        check(xb[50:52], xb, 16, METRIC_L2, exact=True)


def large_k() -> None:
    with limits(threadgroups=2, slab_rows=64):
        check(_normal(1, 3), _normal(2203, 3), 1930)


def nearly_equal() -> None:
    """More rows than a list holds whose distances differ by 1e-12 of themselves, the nearest row last."""
    xb = np.ones((200, 2), np.float32)
    xb[:, 1] = 2.0**-20 * np.arange(200, 0, -1)
    check(np.zeros((1, 2), np.float32), xb, 16, METRIC_L2, exact=True)


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
_OUT = r"\[(out of bounds|wild access)\].*"


def _knn(name: str, old: str, new: str, case: Callable[[], None], expected: str) -> Fault:
    return Fault(name, "knn", old, new, case, expected)


def _exact(name: str, old: str, new: str, case: Callable[[], None], expected: str, count: int = 1) -> Fault:
    return Fault(name, "knn_exact", old, new, case, expected, count)


FAULTS = [
    # The queues of several queries.
    _knn("no_barrier_after_offers", f"  {_BARRIER}\n  bool full", "  bool full", few_queries, "race|barrier"),
    _knn(
        "no_barrier_before_offers",
        f"  q.round = 0u;\n  {_BARRIER}\n}}",
        "  q.round = 0u;\n}",
        few_queries,
        r"\[race\]|unwritten",
    ),
    _knn("buffers_overflow", "if (place >= q.room - q.fresh)", "if (place >= q.room)", one_query, _OUT + "buffer"),
    _knn(
        "buffers_are_not_emptied",
        "atomic_store_explicit(q.filled + query, 0u, memory_order_relaxed);",
        "",
        one_query,
        _OUT + "buffer|race",
    ),
    # knn_direct
    _knn("rows_behind_the_last_are_offered", "row < end && is_number", "is_number", few_queries, "input 1|race"),
    _knn("rows_behind_the_last_are_read", "min(r, last_row)", "r", one_query, _OUT + "input 1"),
    _knn("queries_behind_the_last_are_read", "min(q, num_queries - 1u)", "q", few_queries, _OUT + "input 0"),
    _knn(
        "columns_behind_the_last_are_read",
        "for (int c = int(lane); c < p.d; c += 32) {\n        float query",
        "for (int c = int(lane); c < p.d + 1; c += 32) {\n        float query",
        one_query,
        _OUT + "input",
    ),
    _knn(
        "lists_of_slabs_in_one_place",
        "lists[(query * long(p.slabs) + long(group.x)) * LIST + long(i % LIST)]",
        "lists[query * long(p.slabs) * LIST + long(i % LIST)]",
        one_query,
        "race of threadgroups|unwritten",
    ),
    _knn(
        "divergent_sums",
        "if (row < end) {\n      float score[32];",
        "if (row + lane < end) {\n      float score[32];",
        one_query,
        r"\[(simd|shuffle)\]",
    ),
    # knn_finish
    _knn(
        "no_barrier_before_scores",
        f"    f.kth[0] = NO_SCORE;\n  }}\n  {_BARRIER}",
        "    f.kth[0] = NO_SCORE;\n  }",
        few_queries,
        r"\[(race|unwritten)\]",
    ),
    _knn(
        "no_barrier_before_ranks",
        f"excluded ? 1u : 0u) != 0u;\n  {_BARRIER}",
        "excluded ? 1u : 0u) != 0u;",
        few_queries,
        r"\[race\].*best",
    ),
    _exact(
        "ties_to_the_higher_id",
        "score == other_score && row < other_row",
        "score == other_score && row > other_row",
        equals,
        WRONG_RESULT,
    ),
    _knn(
        "nearer_than_itself", "score == other_score && row < other_row", "score == other_score", few_queries, "output"
    ),
    _knn("everything_is_proven", "dropped == NAN_KEY || excluded", "true || excluded", nearly_equal, WRONG_RESULT),
    # knn_scan_few
    Fault(
        "no_barrier_behind_the_sample",
        "knn_scan_few",
        f"    keys[i] = minima[i];\n  }}\n  {_BARRIER}",
        "    keys[i] = minima[i];\n  }",
        scan_of_few,
        r"\[(race|unwritten)\]",
    ),
    Fault(
        "places_of_a_list_are_shared",
        "knn_scan_few",
        "atomic_fetch_add_explicit(counts + query, 1u, memory_order_relaxed)",
        "atomic_load_explicit(counts + query, memory_order_relaxed)",
        scan_of_few,
        "race|output",
    ),
    _knn(
        "a_missing_result_is_missed",
        "i = found + thread_index; i < k",
        "i = found + 1u + thread_index; i < k",
        padded,
        "output [01].*nobody wrote|output",
    ),
    _exact(
        "scores_in_single_floats", "  r.lo = (a - a_part) + (b - b_part);", "  r.lo = 0.0f;", nearly_equal, WRONG_RESULT
    ),
    _exact("low_parts_are_lost", "long(int(lo * 562949953421312.0f))", "0l", nearly_equal, WRONG_RESULT),
    # knn_exact, knn_exact_merge
    _exact(
        "fence_of_threadgroup_memory",
        "threadgroup_barrier(mem_flags::mem_device);",
        _BARRIER,
        equals,
        r"\[race\].*scratch",
        2,
    ),
    _exact(
        "exact_rows_behind_the_last",
        "if (row < end) {\n        ulong score",
        "{\n        ulong score",
        equals,
        _OUT + "input 1",
    ),
    _exact(
        "exact_lists_overflow",
        "n > uint(p.capacity) - EXACT_ROWS * SIMDGROUPS",
        "n > uint(p.capacity)",
        equals,
        _OUT + "scratch|race of threadgroups",
    ),
    _exact("exact_lists_keep_garbage", "    list.scores[i] = NO_SCORE;\n", "", large_k, "unwritten"),
    _exact(
        "only_the_first_list",
        "for (int slab = 1; slab < p.slabs; slab++)",
        "for (int slab = 1; slab < 1; slab++)",
        large_k,
        WRONG_RESULT,
    ),
    # Products
    _knn(
        "scores_behind_the_last",
        "if (row < end) {\n        float product",
        "if (row <= end) {\n        float product",
        products,
        _OUT + "scratch|unwritten",
    ),
    _knn("half_of_the_products", "- 2.0f * product", "- product", products, WRONG_RESULT),
    _knn(
        "lists_begin_with_every_chunk",
        "best[i] = p.fresh != 0 ? NO_PAIR",
        "best[i] = true ? NO_PAIR",
        products,
        WRONG_RESULT,
    ),
    _knn("lists_never_begin", "best[i] = p.fresh != 0 ? NO_PAIR", "best[i] = false ? NO_PAIR", products, "unwritten"),
    _knn(
        "center_of_columns_behind",
        "  if (column >= long(p.d)) {\n    return;\n  }\n",
        "",
        products_of_few_rows,
        _OUT + "input 1",
    ),
    _knn("rows_behind_are_prepared", "  if (row >= long(p.rows)) {\n    return;\n  }\n", "", products, _OUT),
    _knn(
        "norms_by_every_lane",
        "  if (lane == 0u) {\n    norms[row]",
        "  {\n    norms[row + long(lane)]",
        products,
        "race|out of bounds",
    ),
]
