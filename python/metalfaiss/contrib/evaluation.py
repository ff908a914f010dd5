"""How good results are: recall of neighbours, precision and recall of ranges, comparisons for tests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss._core import num_threads, set_num_threads
from metalfaiss.contrib.operating_points import OperatingPoints, OperatingPointsWithRanges
from metalfaiss.errors import ArgumentError

__all__ = [
    "OperatingPoints",
    "OperatingPointsWithRanges",
    "RepeatTimer",
    "check_ref_knn_with_draws",
    "check_ref_range_results",
    "counts_to_PR",
    "filter_range_results",
    "knn_intersection_measure",
    "range_PR",
    "range_PR_multiple_thresholds",
    "sort_range_res_1",
    "sort_range_res_2",
]


def knn_intersection_measure(I1: NDArray[Any], I2: NDArray[Any]) -> float:
    """The share of ids, shape (nq, k), that both tables have for the same query."""
    _require_same_shape("knn_intersection_measure", I1, I2)
    return sum(np.intersect1d(a, b).size for a, b in zip(I1, I2, strict=True)) / I1.size


def filter_range_results(
    lims: NDArray[Any], D: NDArray[Any], I: NDArray[Any], thresh: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Results of a range search whose distance is below a threshold."""
    below = thresh > D
    counts = np.concatenate([[0], np.cumsum(below)])
    return counts[np.asarray(lims, dtype=np.int64)].astype(lims.dtype), D[below], I[below]


def range_PR(
    lims_ref: NDArray[Any], Iref: NDArray[Any], lims_new: NDArray[Any], Inew: NDArray[Any], mode: str = "overall"
) -> tuple[float, float]:
    """Precision and recall of the ids of a range search.

    Args:
        lims_ref, Iref: the true results.
        lims_new, Inew: those to be judged.
        mode: "overall", or "average" over the queries.
    """
    rows = zip(_rows(lims_ref, Iref), _rows(lims_new, Inew), strict=True)
    common = np.array([np.intersect1d(true, found).size for true, found in rows], dtype=np.int64)
    return counts_to_PR(_sizes(lims_ref), _sizes(lims_new), common, mode=mode)


def counts_to_PR(
    ngt: NDArray[Any], nres: NDArray[Any], ninter: NDArray[Any], mode: str = "overall"
) -> tuple[float, float]:
    """Precision and recall from counts of each query.

    Args:
        ngt: true results.
        nres: found results.
        ninter: those found that are true.
        mode: "overall", or "average" over the queries.

    Raises:
        ValueError: the mode is none of these.
    """
    if mode not in ("overall", "average"):
        raise ArgumentError(f"[counts_to_PR] mode must be 'overall' or 'average'. Received {mode!r}.")
    true, found, common = (np.asarray(a, dtype=np.float64) for a in (ngt, nres, ninter))
    if mode == "overall":
        true, found, common = (a.sum(keepdims=True) for a in (true, found, common))
    precision = np.where(found > 0, common / np.maximum(found, 1), 1.0)
    recall = np.where(true > 0, common / np.maximum(true, 1), (found == 0).astype(np.float64))
    return float(precision.mean()), float(recall.mean())


def range_PR_multiple_thresholds(
    lims_ref: NDArray[Any],
    Iref: NDArray[Any],
    lims_new: NDArray[Any],
    Dnew: NDArray[Any],
    Inew: NDArray[Any],
    thresholds: Sequence[float] | NDArray[Any],
    mode: str = "overall",
    do_sort: str = "ref,new",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precisions and recalls where only results below each of several thresholds count.

    Args:
        lims_ref, Iref: the true results.
        lims_new, Dnew, Inew: those to be judged.
        thresholds: distances.
        mode: "overall", or "average" over the queries.
        do_sort: for FAISS's signature; results need no order here.
    """
    del do_sort
    true = np.concatenate([np.isin(f, t) for t, f in zip(_rows(lims_ref, Iref), _rows(lims_new, Inew), strict=True)])
    limits = np.asarray(lims_new, dtype=np.int64)
    judged = []
    for threshold in thresholds:
        below = Dnew < threshold
        found, common = (np.diff(np.concatenate([[0], np.cumsum(a)])[limits]) for a in (below, below & true))
        judged.append(counts_to_PR(_sizes(lims_ref), found, common, mode=mode))
    precisions, recalls = np.array(judged).reshape(-1, 2).T
    return precisions, recalls


def check_ref_knn_with_draws(
    Dref: NDArray[Any],
    Iref: NDArray[Any],
    Dnew: NDArray[Any],
    Inew: NDArray[Any],
    rtol: float = 1e-5,
    atol: float = 0.0,
) -> None:
    """Checks that two searches found the same, where ids of nearly equal distances may stand in any order.

    Raises:
        AssertionError: they did not.
    """
    np.testing.assert_allclose(Dref, Dnew, rtol=rtol, atol=atol)
    for i, (D, ids, new) in enumerate(zip(Dref, Iref, Inew, strict=True)):
        apart = np.abs(np.diff(D)) > rtol * np.abs(D).max() + atol
        groups = np.split(np.arange(len(D)), np.flatnonzero(apart) + 1)
        for group in groups[:-1]:  # the last one may be cut off
            if set(ids[group]) != set(new[group]):
                raise AssertionError(f"query {i}: {sorted(ids[group])} != {sorted(new[group])}")


def check_ref_range_results(
    Lref: NDArray[Any],
    Dref: NDArray[Any],
    Iref: NDArray[Any],
    Lnew: NDArray[Any],
    Dnew: NDArray[Any],
    Inew: NDArray[Any],
) -> None:
    """Checks that two range searches found the same, in any order.

    Raises:
        AssertionError: they did not.
    """
    np.testing.assert_array_equal(Lref, Lnew)
    queries = np.repeat(np.arange(len(Lref) - 1), _sizes(Lref))
    ref, new = np.lexsort((Iref, queries)), np.lexsort((Inew, queries))
    np.testing.assert_array_equal(Iref[ref], Inew[new])
    np.testing.assert_array_almost_equal(Dref[ref], Dnew[new], decimal=5)


def sort_range_res_2(lims: NDArray[Any], D: NDArray[Any], I: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ids and distances of a range search, those of each query by distance."""
    order = np.lexsort((D, np.repeat(np.arange(len(lims) - 1), _sizes(lims))))
    return I[order], D[order]


def sort_range_res_1(lims: NDArray[Any], I: NDArray[Any]) -> NDArray[Any]:
    """Ids of a range search, those of each query ascending."""
    return I[np.lexsort((I, np.repeat(np.arange(len(lims) - 1), _sizes(lims))))]


class RepeatTimer:
    """Times the body of a loop again and again::

        timer = RepeatTimer(warmup=1, nt=1, runs=6)
        for _ in timer:
            index.search(xq, 10)
        print(timer.ms(), timer.ms_std())

    Args:
        warmup: how many runs at first do not count.
        nt: how many threads are used meanwhile; -1 for as many as before.
        runs: how many runs in all.
        max_secs: after so many seconds no run begins.
    """

    def __init__(self, warmup: int = 0, nt: int = -1, runs: int = 1, max_secs: float = np.inf) -> None:
        if not 0 <= warmup < runs:
            raise ArgumentError(f"[RepeatTimer] warmup must be from 0 to runs - 1. Received {warmup} of {runs} runs.")
        self.warmup, self.nt, self.runs, self.max_secs = warmup, nt, runs, max_secs
        self._seconds: list[float] = []

    def __iter__(self) -> Iterator[int]:
        before, self._seconds = num_threads(), []
        if self.nt != -1:
            set_num_threads(self.nt)
        try:
            begin = time.perf_counter()
            for run in range(self.runs):
                start = time.perf_counter()
                yield run
                end = time.perf_counter()
                self._seconds.append(end - start)
                if end - begin > self.max_secs:
                    break
        finally:
            set_num_threads(before)

    def _counted(self) -> NDArray[np.float64]:
        if not self.nruns():
            raise RuntimeError("[RepeatTimer] The loop must have run. Received none that counts.")
        return np.array(self._seconds[self.warmup :]) * 1000

    def ms(self) -> float:
        """The mean of the runs in milliseconds.

        Raises:
            RuntimeError: none has counted yet.
        """
        return float(self._counted().mean())

    def ms_std(self) -> float:
        """Their standard deviation in milliseconds, 0 of one run; errors are those of ``ms``."""
        return float(self._counted().std())

    def nruns(self) -> int:
        """How many runs have counted."""
        return max(len(self._seconds) - self.warmup, 0)


def _rows(lims: NDArray[Any], values: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(values, np.asarray(lims, dtype=np.int64)[1:-1])


def _sizes(lims: NDArray[Any]) -> NDArray[Any]:
    return np.diff(np.asarray(lims, dtype=np.int64))


def _require_same_shape(op: str, a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise ArgumentError(f"[{op}] Both tables must have one shape. Received {a.shape} and {b.shape}.")
