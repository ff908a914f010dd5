"""Tables of results: merged, accumulated and compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.errors import ArgumentError
from metalfaiss.ownership import Owned
from metalfaiss.selection import select_k

__all__ = ["RangeSearchResult", "ResultHeap", "eval_intersection", "merge_knn_results", "ranklist_intersection_size"]

_WORST = np.finfo(np.float32).max


class ResultHeap:
    """The k best of results that come in parts, for queries that all parts answer.

    Args:
        nq: how many queries.
        k: how many results of each.
        keep_max: whether larger values are better.

    Attributes:
        D, I: distances (nq, k), float32, and ids (nq, k), int64, best first.
    """

    def __init__(self, nq: int, k: int, keep_max: bool = False) -> None:
        self.nq, self.k, self.keep_max = nq, k, keep_max
        self.D = np.full((nq, k), -_WORST if keep_max else _WORST, dtype=np.float32)
        self.I = np.full((nq, k), -1, dtype=np.int64)

    def add_result(self, D: Any, I: Any) -> None:
        """Takes results of all queries.

        Args:
            D, I: distances and ids, shape (nq, n), in any order.

        Raises:
            ValueError: a shape is wrong.
        """
        self._add(slice(None), self.nq, "add_result", D, I)

    def add_result_subset(self, subset: Any, D: Any, I: Any) -> None:
        """Takes results of some queries.

        Args:
            subset: which, shape (m,), each at most once.
            D: distances, shape (m, n).
            I: ids, shape (m, n), or (n,) where they are the same for all.

        Raises:
            ValueError: a shape is wrong.
        """
        which = np.asarray(subset, dtype=np.int64)
        self._add(which, which.size, "add_result_subset", D, np.broadcast_to(I, np.shape(D)))

    def finalize(self) -> None:
        """Kept for programs written for FAISS: results are in order at any time."""

    def _add(self, which: Any, n: int, method: str, D: Any, I: Any) -> None:
        distances, ids = np.asarray(D, dtype=np.float32), np.asarray(I, dtype=np.int64)
        if distances.ndim != 2 or distances.shape != ids.shape or distances.shape[0] != n:
            received = f"{distances.shape} and {ids.shape}"
            raise ArgumentError(f"[ResultHeap.{method}] D and I must have shape ({n}, n). Received {received}.")
        both = np.concatenate([self.D[which], distances], axis=1)
        best, at = select_k(both, self.k, largest=self.keep_max)
        self.I[which] = np.take_along_axis(np.concatenate([self.I[which], ids], axis=1), at, axis=1)
        self.D[which] = best


def merge_knn_results(Dall: Any, Iall: Any, keep_max: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of the results of several indexes.

    Args:
        Dall, Iall: distances and ids, shape (indexes, nq, k); an id of -1 means "none".
        keep_max: whether larger values are better.

    Returns:
        Distances (nq, k), float32, and ids (nq, k), int64, best first.

    Raises:
        ValueError: the shapes differ, or do not have three dimensions.
    """
    D, I = np.asarray(Dall, dtype=np.float32), np.asarray(Iall, dtype=np.int64)
    if D.ndim != 3 or D.shape != I.shape:
        raise ArgumentError(
            f"[merge_knn_results] Dall and Iall must have one shape (indexes, nq, k). Received {D.shape} and {I.shape}."
        )
    D = np.where(I < 0, -_WORST if keep_max else _WORST, D)
    parts, nq, k = D.shape
    best, at = select_k(D.transpose(1, 0, 2).reshape(nq, parts * k), k, largest=keep_max)
    return best, np.take_along_axis(I.transpose(1, 0, 2).reshape(nq, parts * k), at, axis=1)


def eval_intersection(I1: Any, I2: Any) -> int:
    """How many ids the rows of two tables share, in total; -1 and repetitions do not count.

    Args:
        I1, I2: ids, shapes (n, k1) and (n, k2).

    Raises:
        ValueError: the shapes are not these.
    """
    a, b = np.asarray(I1, dtype=np.int64), np.asarray(I2, dtype=np.int64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[0]:
        raise ArgumentError(f"[eval_intersection] I1 and I2 must have n rows each. Received {a.shape} and {b.shape}.")
    known, numbers = np.unique(np.concatenate([a.reshape(-1), b.reshape(-1)]), return_inverse=True)
    rows = np.arange(a.shape[0])[:, None] * known.size  # a number of its own for every id of every row
    ours = (numbers[: a.size].reshape(a.shape) + rows)[a >= 0]
    theirs = (numbers[a.size :].reshape(b.shape) + rows)[b >= 0]
    return int(np.intersect1d(ours, theirs).size)


def ranklist_intersection_size(k1: int, v1: Any, k2: int, v2: Any) -> int:
    """How many ids two lists share; FAISS's form of ``eval_intersection`` for one row.

    Args:
        k1, k2: how many ids of each list to look at.
        v1, v2: the lists.
    """
    return eval_intersection(np.asarray(v1).reshape(1, -1)[:, :k1], np.asarray(v2).reshape(1, -1)[:, :k2])


class RangeSearchResult(Owned):
    """Results of a search by distance in FAISS's form.

    Args:
        nq: how many queries.

    Attributes:
        lims: (nq + 1,), uint64; the results of query i are ``lims[i]`` to ``lims[i + 1] - 1``.
        distances, labels: all distances and ids.
    """

    def __init__(self, nq: int) -> None:
        self.nq = nq
        self.lims = np.zeros(nq + 1, dtype=np.uint64)
        self.distances = np.empty(0, dtype=np.float32)
        self.labels = np.empty(0, dtype=np.int64)

    def do_allocation(self) -> None:
        """Makes arrays as large as ``lims`` says."""
        self.distances = np.empty(int(self.lims[-1]), dtype=np.float32)
        self.labels = np.empty(int(self.lims[-1]), dtype=np.int64)

    def _take(self, lims: NDArray[Any], distances: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Takes the results of ``range_search``."""
        self.lims, self.distances, self.labels = lims.astype(np.uint64), distances, labels
