"""Results of several indexes as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss._host import Stream
from metalfaiss.selection import select_k

__all__ = ["Ranges", "best", "concatenated", "mapped", "mapped_at_once", "shifted", "starts"]

Ranges = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]  # limits (n + 1,), distances, ids


def mapped(I: mx.array, ids: mx.array, stream: Stream) -> mx.array:
    """``ids[I]``, and -1 where there is none: an index inside may name what it likes, as may the file it came from."""
    if ids.size == 0:
        return mx.full(I.shape, -1, dtype=mx.int64, stream=stream)
    known = mx.less(mx.view(I, mx.uint64, stream=stream), mx.array(ids.size, dtype=mx.uint64), stream=stream)
    found = mx.take(ids, mx.where(known, I, 0, stream=stream), stream=stream)
    return mx.where(known, found, -1, stream=stream)


def mapped_at_once(I: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """``mapped`` on the host."""
    known = (I >= 0) & (ids.size > I)
    return np.where(known, ids[np.where(known, I, 0)], -1) if ids.size else np.full_like(I, -1)


def require_ids(op: str, vectors: int, ids: int) -> None:
    """For an index that maps ids: those of vectors that were added past it would be read beyond its table.

    Raises:
        RuntimeError: there are more vectors than ids.
    """
    if vectors > ids:
        raise RuntimeError(f"[{op}] Every vector inside must have an id. Received {vectors} vectors and {ids} ids.")


def shifted(I: mx.array, by: int, stream: Stream) -> mx.array:
    """``I + by``, and -1 where I is."""
    moved = mx.add(I, mx.array(by, dtype=mx.int64), stream=stream)
    return mx.where(mx.less(I, 0, stream=stream), I, moved, stream=stream)


def best(
    found: Sequence[tuple[mx.array, mx.array]], k: int, similarity: bool, stream: Stream
) -> tuple[mx.array, mx.array]:
    """The k best of results (n, k_i); of equal distances those that come first."""
    D = mx.concatenate([d for d, _ in found], axis=-1, stream=stream)
    I = mx.concatenate([i for _, i in found], axis=-1, stream=stream)
    D, at = select_k(D, k, largest=similarity, stream=stream)
    return D, mx.take_along_axis(I, mx.stop_gradient(at, stream=stream), axis=-1, stream=stream)


def concatenated(found: Sequence[Ranges], n: int) -> Ranges:
    """The results of n queries in several indexes, those of one query one index after the other."""
    if not found:
        return np.zeros(n + 1, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
    counts = np.stack([np.diff(lims.astype(np.int64)) for lims, _, _ in found])  # (indexes, n)
    lims = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    at = lims[:-1] + np.concatenate([np.zeros((1, n), np.int64), np.cumsum(counts, axis=0)[:-1]])
    D, I = np.empty(lims[-1], dtype=np.float32), np.empty(lims[-1], dtype=np.int64)
    for part, (starts, d, i) in enumerate(found):
        where = np.arange(d.size) + np.repeat(at[part] - starts[:-1].astype(np.int64), counts[part])
        D[where], I[where] = d, i
    return lims, D, I


def starts(counts: Sequence[int]) -> list[int]:
    """Where the ids of each of several indexes begin."""
    return list(accumulate(counts, initial=0))
