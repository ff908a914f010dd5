"""Faults planted in select_k."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from metalfaiss import select_k

from . import WRONG_RESULT, Fault

_RNG = np.random.default_rng(5)


def _check(x: mx.array, k: int) -> None:
    values, indices = select_k(x, k)
    mx.eval(values, indices)
    x64 = np.array(x).astype(np.float64)
    expected = np.argsort(x64, axis=-1, kind="stable")[..., :k]
    np.testing.assert_array_equal(np.array(indices), expected)
    np.testing.assert_array_equal(np.array(values), np.take_along_axis(x64, expected, -1))


def _normal(*shape: int) -> mx.array:
    return mx.array(_RNG.standard_normal(shape).astype(np.float32))


def short_rows() -> None:
    """A simdgroup each; nothing behind the last row."""
    _check(_normal(11, 203), 40)


def threadgroup_row() -> None:
    """A row that does not begin or end where vectors do."""
    _check(_normal(2, 4503)[:, 1:], 300)


def segments() -> None:
    _check(_normal(1, 40001), 20)


def ties() -> None:
    """One value: the indices decide."""
    _check(mx.ones((1, 5000)), 100)


def descending() -> None:
    """Every value is better than all before it."""
    _check(mx.array(-np.arange(5000, dtype=np.float32)), 300)


def zeros() -> None:
    """Of both signs, among other values."""
    x = _RNG.choice(np.array([0.0, -0.0, 1.0], dtype=np.float32), (1, 3000))
    _check(mx.array(x), 1700)


def radix() -> None:
    """More rows than one, tied."""
    _check(mx.round(_normal(2, 16401) * 10), 2300)


def radix_in_registers() -> None:
    _check(mx.round(_normal(2, 6001) * 10), 2300)


def filtered() -> None:
    """Values that get better and better: the area is full often."""
    _check(mx.array(-np.arange(66001, dtype=np.float32)), 2050)


def _fault(name: str, old: str, new: str, case: Callable[[], None], expected: str) -> Fault:
    return Fault(name, "select_k", old, new, case, expected)


FAULTS = [
    _fault(
        "rounds_end_without_barrier",
        "  threadgroup_barrier(mem_flags::mem_threadgroup);\n  uint total = q.filled",
        "  uint total = q.filled",
        threadgroup_row,
        r"race.*select_k_rows.*fresh",
    ),
    _fault(
        "two_counters_for_three",
        "q.counter + (q.round + 1u) % QUEUE_COUNTERS, 0u",
        "q.counter + q.round % 2u, 0u",
        threadgroup_row,
        r"race.*select_k_rows.*fresh",
    ),
    _fault(
        "buffer_not_padded",
        "i = n + thread_index; i < padded;",
        "i = n + thread_index; i < n;",
        threadgroup_row,
        WRONG_RESULT,
    ),
    _fault("mirror_off_by_one", "mirrored = n_best - 1u - i;", "mirrored = n_best - i;", threadgroup_row, WRONG_RESULT),
    _fault(
        "place_behind_the_buffer",
        "!= 0u && place < q.room",
        "!= 0u && place <= q.room",
        descending,
        r"out of bounds.*fresh\[place\]",
    ),
    _fault(
        "simdgroup_barrier_too_far",
        "last <= 32u && distance <= 32u",
        "last <= 64u && distance <= 64u",
        descending,
        r"race.*pair_sort",
    ),
    _fault(
        "tail_not_checked",
        "ulong pair = i < end ? pair_of(",
        "ulong pair = i >= 0u ? pair_of(",
        threadgroup_row,
        r"out of bounds.*row\[i\].*input 0",
    ),
    _fault("alignment_ignored", "(0u - misaligned - begin)", "(0u - begin)", threadgroup_row, r"misaligned.*body\["),
    _fault(
        "one_vector_too_many",
        "body[min(v, vectors - 1u)]",
        "body[min(v, vectors)]",
        threadgroup_row,
        r"out of bounds.*body\[.*input 0",
    ),
    _fault(
        "segment_too_long",
        "end = uint(min(p.n, (segment + 1) * p.length));\n  start_queue",
        "end = uint((segment + 1) * p.length);\n  start_queue",
        segments,
        r"out of bounds.*select_k_segments.*input 0",
    ),
    _fault("best_pairs_not_cleared", "    q.best[i] = NO_PAIR;\n", "", segments, r"unwritten.*best"),
    _fault(
        "keys_decide_alone",
        "wanted &= pair < q.last ?",
        "wanted &= key_of(pair) < key_of(q.last) ?",
        ties,
        WRONG_RESULT,
    ),
    _fault("zeros_differ", "b = b == 0x80000000u ? 0u : b;", "", zeros, WRONG_RESULT),
    _fault(
        "simd_one_row_too_many",
        "SIMD_ROWS + simd; row < p.rows;",
        "SIMD_ROWS + simd; row <= p.rows;",
        short_rows,
        r"out of bounds.*select_k_simd.*output 1",
    ),
    _fault(
        "simd_no_tail",
        "bits[e] = i < n ? bits_of(from",
        "bits[e] = true ? bits_of(from",
        short_rows,
        r"out of bounds.*select_k_simd.*input 0",
    ),
    _fault(
        "simd_buffer_read_early",
        "  simdgroup_barrier(mem_flags::mem_threadgroup);\n  filled -= 32u;",
        "  filled -= 32u;",
        short_rows,
        r"race.*buffer",
    ),
    _fault(
        "simd_buffer_written_early",
        "buffer[32u + lane] : NO_PAIR;\n  simdgroup_barrier(mem_flags::mem_threadgroup);\n",
        "buffer[32u + lane] : NO_PAIR;\n",
        short_rows,
        r"race.*buffer",
    ),
    _fault(
        "bins_not_cleared",
        "      atomic_store_explicit(bins + b, 0u, memory_order_relaxed);\n",
        "",
        radix,
        r"unwritten.*array bins",
    ),
    _fault(
        "counted_before_cleared",
        "    threadgroup_barrier(mem_flags::mem_threadgroup);\n    Segment s",
        "    Segment s",
        radix,
        r"unwritten.*array bins",
    ),
    _fault(
        "state_written_while_read",
        "    threadgroup_barrier(mem_flags::mem_device);  // all have read before one writes\n",
        "",
        radix,
        r"race.*states",
    ),
    _fault(
        "sums_reused_early",
        "  threadgroup_barrier(mem_flags::mem_threadgroup);\n  return scan;",
        "  return scan;",
        radix,
        r"race.*array sums",
    ),
    _fault(
        "too_many_equal_keys",
        "(is_less || is_equal) && to < k",
        "is_less || is_equal",
        radix,
        r"race of threadgroups.*select_k_radix_gather.*pairs",
    ),
    _fault(
        "digit_of_wrong_place",
        "known | (r.bin << digit.shift);",
        "known | (r.bin << (digit.shift + 1u));",
        radix,
        WRONG_RESULT,
    ),
    _fault(
        "row_read_behind_its_end",
        "keys[i] = at < n ? key_of_element(from[long(at) * p.col_stride], p) : NAN_KEY;",
        "keys[i] = key_of_element(from[long(at) * p.col_stride], p);",
        radix_in_registers,
        r"out of bounds.*select_k_radix_row.*x",
    ),
    _fault(
        "row_bins_not_cleared",
        "  for (uint b = thread_index; b < MAX_BINS; b += ROW_THREADS) {",
        "  for (uint b = thread_index; b < ROW_THREADS; b += ROW_THREADS) {",
        radix_in_registers,
        r"unwritten.*array bins",
    ),
    _fault(
        "row_chosen_read_early",
        "    chosen[1] = r.before;\n  }\n  threadgroup_barrier(mem_flags::mem_threadgroup);\n",
        "    chosen[1] = r.before;\n  }\n",
        radix_in_registers,
        r"race.*array chosen|unwritten.*array chosen",
    ),
    _fault(
        "splits_read_early",
        "    threadgroup_barrier(mem_flags::mem_threadgroup);\n    long from_a",
        "    long from_a",
        radix,
        r"unwritten.*array splits",
    ),
    _fault(
        "result_too_long",
        "min(long(s.tile), long(p.k) - begin)",
        "long(s.tile)",
        radix,
        r"out of bounds.*select_k_write|race of threadgroups.*select_k_write.*output",
    ),
    _fault(
        "area_overflows",
        "if (filled + p.threads * GATHERED > p.capacity)",
        "if (filled > p.capacity)",
        filtered,
        r"race of threadgroups.*select_k_filter.*areas|out of bounds.*areas",
    ),
    _fault(
        "area_overwritten_while_read",
        "    threadgroup_barrier(mem_flags::mem_device);  // all have read before anyone overwrites\n",
        "",
        filtered,
        r"race.*select_k_filter.*areas",
    ),
    _fault(
        "area_read_early",
        "  threadgroup_barrier(mem_flags::mem_device);\n  KthKey last;",
        "  KthKey last;",
        filtered,
        r"race.*select_k_filter.*areas",
    ),
]
