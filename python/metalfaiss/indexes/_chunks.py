"""Stored vectors as a few chunks.

Appending merges chunks, so that each is at least ``RATIO`` times larger than the next: n vectors are at most log(n)
chunks to search, and each was copied O(log(n)) times, not O(n). To merge takes an evaluation: small chunks wait until
they are ``FEW``, and a search joins those that wait. A tuple of chunks is never changed: whoever holds one may go on
searching it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss._host import Stream, finish
from metalfaiss.indexes._merge import Ranges, best, concatenated, shifted
from metalfaiss.metrics import is_similarity_metric

__all__ = ["Chunks", "Metric", "append", "gather", "rows", "search", "take", "total", "within"]

Chunks: TypeAlias = tuple[mx.array, ...]  # each (n_i, d), at least one, all of one dtype
Metric: TypeAlias = tuple[int, float]  # and its argument

RATIO = 4  # 1300 equal batches: at most 5 chunks, each vector copied 9 times on average (8: 4 and 15; 2: 10 and 5)
SMALL = 2**15  # bytes; with FEW, a search copies at most 1 MB
FEW = 32
MAX_ROWS = 2**31 - 1  # of an array in MLX


def total(chunks: Chunks) -> int:
    return sum(chunk.shape[0] for chunk in chunks)


def append(chunks: Chunks, x: mx.array, max_rows: int = MAX_ROWS) -> Chunks:
    """The chunks with ``x``, shape (n, d), behind them."""
    n, keep = x.shape[0], len(chunks)
    if n == 0:
        return chunks
    if x.nbytes < SMALL and len(chunks) - _first_small(chunks) < FEW:
        return (*chunks, x) if chunks[0].shape[0] else (x,)
    while keep and chunks[keep - 1].shape[0] < RATIO * n and chunks[keep - 1].shape[0] + n <= max_rows:
        keep -= 1
        n += chunks[keep].shape[0]
    merged = [chunk for chunk in (*chunks[keep:], x) if chunk.shape[0]]
    last = x if len(merged) == 1 else finish(mx.concatenate(merged), *merged)
    return (*chunks[:keep], last)


def search(
    chunks: Chunks,
    xq: mx.array,
    k: int,
    metric: Metric,
    stream: Stream,
    selected: NDArray[np.int64] | None = None,
) -> tuple[mx.array, mx.array]:
    """The k best of all chunks: the best of each chunk, and the best of those. Ties go to the lower id.

    Beyond the chunks' own searches it holds the candidates: 12 bytes for each of at most ``k`` of every chunk. With
    ``selected``, ids in ascending order, those vectors alone are searched, where they lie.
    """
    chunks = _joined(chunks, stream)
    firsts = list(_starts(chunks))
    parts = _split(chunks, selected)
    counts = [min(k, chunk.shape[0] if part is None else part.size) for chunk, part in zip(chunks, parts, strict=True)]
    if len(chunks) == 1:
        return _knn(xq, chunks[0], k, metric, parts[0], stream)
    counts[-1] = max(counts[-1], k - sum(counts[:-1]))  # the last chunk pads when there are fewer than k vectors
    found = []
    for chunk, count, part, first in zip(chunks, counts, parts, firsts, strict=True):
        if not count:
            continue
        D, I = _knn(xq, chunk, count, metric, part, stream)
        found.append((D, shifted(I, first, stream) if first else I))
    return found[0] if len(found) == 1 else best(found, k, is_similarity_metric(metric[0]), stream)


def within(
    chunks: Chunks, xq: mx.array, radius: float, metric: Metric, stream: Stream, selected: NDArray[np.int64] | None
) -> Ranges:
    """The vectors nearer than a radius, of all or of those with the ids ``selected``, ascending; by id."""
    chunks = _joined(chunks, stream)
    xq = mx.contiguous(xq, stream=stream)
    mx.eval(xq, *chunks)
    found = []
    for chunk, part, first in zip(chunks, _split(chunks, selected), _starts(chunks), strict=True):
        if part is not None and part.size == 0:
            continue
        lims, D, I = _core.range_search(xq, chunk, radius, *metric, rows=part)
        found.append((lims, D, I + first if first else I))
    return found[0] if len(found) == 1 else concatenated(found, xq.shape[0])


def _split(chunks: Chunks, selected: NDArray[np.int64] | None) -> list[mx.array | None]:
    """The selected rows of each chunk."""
    if selected is None:
        return [None] * len(chunks)
    firsts = list(_starts(chunks))
    cuts = np.searchsorted(selected, [*firsts, total(chunks)])
    return [mx.array(selected[a:b] - first) for a, b, first in zip(cuts[:-1], cuts[1:], firsts, strict=True)]


def _knn(
    xq: mx.array, chunk: mx.array, k: int, metric: Metric, rows: mx.array | None, stream: Stream
) -> tuple[mx.array, mx.array]:
    return _core.knn(xq, chunk, k, *metric, rows=rows, stream=stream)


def rows(chunks: Chunks, start: int, count: int) -> mx.array:
    """Vectors ``start`` to ``start + count - 1``, which must exist, as float32."""
    parts = []
    for first, chunk in zip(_starts(chunks), chunks, strict=True):
        begin, end = max(start - first, 0), min(start + count - first, chunk.shape[0])
        if begin < end:
            part = chunk if end - begin == chunk.shape[0] else chunk[begin:end]
            parts.append(part.astype(mx.float32))
    if not parts:
        return mx.zeros((0, chunks[0].shape[1]))
    return parts[0] if len(parts) == 1 else mx.concatenate(parts)


def gather(chunks: Chunks, ids: mx.array) -> mx.array:
    """The vectors of ids that exist, ascending, shape (n,), as they are stored."""
    parts = []
    host = np.array(ids)
    for first, chunk in zip(_starts(chunks), chunks, strict=True):
        begin, end = np.searchsorted(host, [first, first + chunk.shape[0]])
        if begin < end:
            parts.append(mx.take(chunk, ids[begin:end] - first, axis=0))
    return mx.concatenate(parts) if parts else chunks[0][:0]


def take(chunks: Chunks, ids: mx.array) -> mx.array:
    """The vectors of ``ids``, shape (n,), as float32; NaN where an id is none of theirs."""
    ids = ids.astype(mx.int64)
    out = mx.full((ids.shape[0], chunks[0].shape[1]), float("nan"))
    for first, chunk in zip(_starts(chunks), chunks, strict=True):
        if n := chunk.shape[0]:
            at = ids - mx.array(first, dtype=mx.int64)
            inside = mx.logical_and(at >= 0, at < n)
            there = mx.take(chunk, mx.where(inside, at, 0), axis=0).astype(mx.float32)
            out = mx.where(inside[:, None], there, out)
    return out


def _first_small(chunks: Chunks) -> int:
    """Where the small chunks begin; they are the last ones."""
    first = len(chunks)
    while first and chunks[first - 1].nbytes < SMALL:
        first -= 1
    return first


def _joined(chunks: Chunks, stream: Stream) -> Chunks:
    """The chunks with the small ones as one."""
    for chunk in chunks:  # has MLX note, while we hold the GIL, which are computed: its notes are not thread-safe
        _core.is_evaluated(chunk)
    first = _first_small(chunks)
    if len(chunks) - first <= 1:
        return chunks
    return (*chunks[:first], mx.concatenate(list(chunks[first:]), stream=stream))


def _starts(chunks: Chunks) -> Iterator[int]:
    """The id of each chunk's first vector."""
    return accumulate((chunk.shape[0] for chunk in chunks[:-1]), initial=0)
