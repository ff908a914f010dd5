"""FAISS's helpers for NumPy arrays: smallest values of rows, buckets, checksums, maps of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metalfaiss import _host
from metalfaiss.errors import ArgumentError
from metalfaiss.selection import select_k

__all__ = [
    "MapInt64ToInt64",
    "bucket_sort",
    "checksum",
    "fourcc",
    "fourcc_inv",
    "fourcc_inv_printable",
    "imbalance_factor",
    "kmax",
    "kmin",
    "lo_build",
    "lo_listno",
    "lo_offset",
    "matrix_bucket_sort_inplace",
]


def kmin(array: ArrayLike, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k smallest values of each row, and where they are.

    Args:
        array: shape (n, m), used as float32.
        k: how many, at least 1.

    Returns:
        Values (n, k), float32, ascending, and positions (n, k), int64; behind the m-th the largest float32 and -1.

    Raises:
        ValueError: ``array`` does not have two dimensions, or ``k`` is less than 1.
    """
    return _best("kmin", array, k, largest=False)


def kmax(array: ArrayLike, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k largest values of each row, descending, and where they are: as ``kmin``, missing values are the lowest."""
    return _best("kmax", array, k, largest=True)


def _best(op: str, array: ArrayLike, k: int, *, largest: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x = np.ascontiguousarray(array, dtype=np.float32)
    if x.ndim != 2:
        raise ArgumentError(f"[{op}] array must have shape (n, m). Received {x.shape}.")
    n, found = x.shape[0], min(_host.integer(op, "k", k, 1), x.shape[1])
    worst = np.finfo(np.float32).min if largest else np.finfo(np.float32).max
    values, at = np.full((n, k), worst, dtype=np.float32), np.full((n, k), -1, dtype=np.int64)
    if found:
        values[:, :found], at[:, :found] = select_k(x, found, largest=largest)
    return values, at


def bucket_sort(tab: ArrayLike, nbucket: int | None = None, nt: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups the positions of equal integers.

    Args:
        tab: integers from 0 to ``nbucket - 1``, shape (n,).
        nbucket: how many there are; by default one more than the largest.
        nt: kept for FAISS's signature, whose order within a bucket depends on it; here it always ascends.

    Returns:
        Limits (nbucket + 1,) and positions (n,), both int64: those of integer i lie from ``lims[i]`` to
        ``lims[i + 1] - 1``.

    Raises:
        ValueError: an integer is out of range.
    """
    values = np.asarray(tab, dtype=np.int64).reshape(-1)
    return _limits("bucket_sort", values, nbucket), np.argsort(values, kind="stable")


def matrix_bucket_sort_inplace(tab: NDArray[Any], nbucket: int | None = None, nt: int = 0) -> NDArray[np.int64]:
    """``bucket_sort`` of a matrix, whose rows are what is grouped.

    Args:
        tab: int32 or int64, shape (n, m), contiguous: then holds the row of each element, one bucket after the other.
        nbucket: how many buckets; by default one more than the largest integer.
        nt: as for ``bucket_sort``.

    Returns:
        Limits (nbucket + 1,), int64.

    Raises:
        TypeError: ``tab`` is neither int32 nor int64.
        ValueError: it is not contiguous, or an integer is out of range.
    """
    op = "matrix_bucket_sort_inplace"
    if tab.dtype not in (np.int32, np.int64):
        raise TypeError(f"[{op}] tab must hold int32 or int64. Received {tab.dtype}.")
    if tab.ndim != 2 or not tab.flags.c_contiguous:
        raise ArgumentError(f"[{op}] tab must be contiguous, of shape (n, m). Received shape {tab.shape}.")
    flat = tab.reshape(-1)
    lims = _limits(op, flat, nbucket)
    flat[:] = np.argsort(flat, kind="stable") // max(tab.shape[1], 1)
    return lims


def _limits(op: str, values: NDArray[Any], nbucket: int | None) -> NDArray[np.int64]:
    n = int(values.max(initial=-1)) + 1 if nbucket is None else nbucket
    if values.size and (values.min() < 0 or values.max() >= n):
        raise ArgumentError(
            f"[{op}] tab must hold integers from 0 to {n - 1}. Received {values.min()} to {values.max()}."
        )
    lims: NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=n))]).astype(np.int64)
    return lims


def checksum(a: NDArray[Any]) -> Any:
    """FAISS's checksum of the bytes of an array, or of each row of a matrix.

    Args:
        a: contiguous, shape (n,) or (n, d).

    Returns:
        An integer for one dimension, uint64 of shape (n,) for two.

    Raises:
        ValueError: ``a`` has another number of dimensions.
    """
    if a.ndim not in (1, 2):
        raise ArgumentError(f"[checksum] a must have shape (n,) or (n, d). Received {a.shape}.")
    rows = np.ascontiguousarray(a).reshape(1 if a.ndim == 1 else len(a), -1).view(np.uint8)
    whole = rows.shape[1] // 4 * 4
    words = np.ascontiguousarray(rows[:, :whole]).view("<u4")[:, ::-1]  # from the last to the first; then single bytes
    sums = np.full(len(rows), 112909, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for terms in ((words * np.uint32(1686049)).T, rows[:, whole:].T.astype(np.uint64) * np.uint64(1686049)):
            for term in terms:
                sums = sums * np.uint64(65713) + term
    return int(sums[0]) if a.ndim == 1 else sums


def imbalance_factor(n: int, k: int, assign: ArrayLike) -> float:
    """How unequal clusters are: 1 where all have one size, k where one has all.

    Args:
        n: how many points, in FAISS's order of arguments.
        k: how many clusters.
        assign: the cluster of each point, shape (n,).

    Raises:
        ValueError: a cluster is out of range.
    """
    sizes = np.diff(_limits("imbalance_factor", np.asarray(assign, dtype=np.int64).reshape(-1)[:n], k))
    return float((sizes.astype(np.float64) ** 2).sum() * k / max(n, 1) ** 2)


class MapInt64ToInt64:
    """A map from int64 to int64 with a fixed capacity.

    Args:
        capacity: how many keys it can hold: a power of two.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1 or capacity & (capacity - 1):
            raise ArgumentError(f"[MapInt64ToInt64] capacity must be a power of two. Received {capacity}.")
        self.capacity = capacity
        self._map: dict[int, int] = {}

    def add(self, keys: NDArray[np.int64], vals: NDArray[np.int64]) -> None:
        """Stores values (n,) of keys (n,); those of keys that are there already are replaced.

        Raises:
            ValueError: the shapes differ.
            RuntimeError: there would be more keys than the capacity. The map is then as it was.
        """
        if keys.ndim != 1 or keys.shape != vals.shape:
            raise ArgumentError(f"[MapInt64ToInt64.add] keys and vals must have shape (n,). Received {keys.shape}.")
        merged = self._map | dict(zip(keys.tolist(), vals.tolist(), strict=True))
        if len(merged) > self.capacity:
            raise RuntimeError(
                f"[MapInt64ToInt64.add] There must be at most {self.capacity} keys. Received {len(merged)}."
            )
        self._map = merged

    def lookup(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values of keys, shape (n,); -1 for those that are not there."""
        return np.array([self._map.get(key, -1) for key in keys.tolist()], dtype=np.int64)


def fourcc(name: str) -> int:
    """The four characters that name a format, as an integer.

    Raises:
        ValueError: they are not four.
    """
    if len(name) != 4:
        raise ArgumentError(f"[fourcc] name must have four characters. Received {name!r}.")
    return int.from_bytes(name.encode("latin-1"), "little")


def fourcc_inv(x: int) -> str:
    """The four characters of an integer."""
    return x.to_bytes(4, "little").decode("latin-1")


def fourcc_inv_printable(x: int) -> str:
    """``fourcc_inv``, with characters that do not print as ``\\x`` and their number."""
    return "".join(c if c.isprintable() and c.isascii() else f"\\x{ord(c):02x}" for c in fourcc_inv(x))


def lo_build(list_id: int, offset: int) -> int:
    """The place of an entry of a list, as direct maps hold it: list << 32 | offset."""
    return list_id << 32 | offset


def lo_listno(lo: int) -> int:
    """The list of a place."""
    return lo >> 32


def lo_offset(lo: int) -> int:
    """The offset of a place in its list."""
    return lo & 0xFFFFFFFF
