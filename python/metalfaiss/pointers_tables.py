"""FAISS's C++ functions on raw memory, third part: random numbers, histograms, checksums, ranks. See ``pointers``."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss._raw import read, write
from metalfaiss.arrays import checksum
from metalfaiss.errors import ArgumentError
from metalfaiss.pointers import _fill, fvec_argsort
from metalfaiss.random import SplitMix64RandomGenerator, randint

__all__ = [
    "BitstringReader",
    "BitstringWriter",
    "bincode_hist",
    "bitvec_shuffle",
    "bvec_checksum",
    "bvecs_checksum",
    "byte_rand",
    "fvec2bitvec",
    "fvec_argsort_parallel",
    "int64_rand_max",
    "ivec_checksum",
    "ivec_hist",
    "matrix_qr",
    "merge_result_table_with",
    "popcount32",
    "popcount64",
    "rand_perm_splitmix64",
    "ranklist_handle_ties",
]

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Bytes = NDArray[np.uint8]

fvec_argsort_parallel = fvec_argsort

# --------------------------------------------------------------------------------------- random numbers


def _bytes(n: int, seed: int) -> Bytes:
    """byte_rand"""
    return (randint(n, seed) & 255).astype(np.uint8)


_bytes.__name__ = "byte_rand"
byte_rand = _fill("byte_rand", _bytes)
byte_rand.__doc__ = "Writes n random bytes to ``x``."


def int64_rand_max(x: Ids, n: int, max: int, seed: int) -> None:
    """Writes n numbers of ``randint`` from 0 to ``max - 1`` to ``x``."""
    write("int64_rand_max", "x", x, randint(n, seed, max))


def rand_perm_splitmix64(perm: NDArray[np.int32], n: int, seed: int) -> None:
    """Writes a random permutation of 0 to n - 1, int32, drawn by SplitMix64."""
    order, generator = np.arange(n, dtype=np.int32), SplitMix64RandomGenerator(seed)
    for i in range(n - 1):
        j = i + generator.rand_int(n - i)
        order[i], order[j] = order[j], order[i]
    write("rand_perm_splitmix64", "perm", perm, order)


# ------------------------------------------------------------------------------- histograms and checksums


def ivec_hist(n: int, v: Any, vmax: int, hist: NDArray[np.int32]) -> int:
    """Writes how often each of 0 to ``vmax - 1`` is among n int32, and returns how many others there are."""
    values = read("ivec_hist", "v", v, (n,), np.int32)
    known = values[(values >= 0) & (values < vmax)]
    write("ivec_hist", "hist", hist, np.bincount(known, minlength=vmax).astype(np.int32))
    return n - known.size


def bincode_hist(n: int, nbits: int, codes: Any, hist: NDArray[np.int32]) -> None:
    """Writes how many of n codes have each of their bits set."""
    given = read("bincode_hist", "codes", codes, (n, nbits // 8), np.uint8)
    write("bincode_hist", "hist", hist, np.unpackbits(given, axis=1, bitorder="little").sum(axis=0, dtype=np.int32))


def ivec_checksum(n: int, a: Any) -> int:
    """``checksum`` of n int32."""
    return int(checksum(read("ivec_checksum", "a", a, (n,), np.int32)))


def bvec_checksum(n: int, a: Any) -> int:
    """``checksum`` of n bytes."""
    return int(checksum(read("bvec_checksum", "a", a, (n,), np.uint8)))


def bvecs_checksum(n: int, d: int, a: Any, cs: NDArray[np.uint64]) -> None:
    """Writes the ``checksum`` of each of n rows of d bytes, uint64."""
    write("bvecs_checksum", "cs", cs, checksum(read("bvecs_checksum", "a", a, (n, d), np.uint8)))


# ------------------------------------------------------------------------------------------------- bits


def popcount32(x: int) -> int:
    """How many bits of a number of 32 bits are set."""
    return (x & 0xFFFFFFFF).bit_count()


def popcount64(x: int) -> int:
    """How many bits of a number of 64 bits are set."""
    return (x & 0xFFFFFFFFFFFFFFFF).bit_count()


def fvec2bitvec(x: Any, b: Bytes, d: int) -> None:
    """Writes a bit for each of d numbers: set where it is at least 0."""
    signs = read("fvec2bitvec", "x", x, (d,)) >= 0
    write("fvec2bitvec", "b", b, np.packbits(signs, bitorder="little"))


def bitvec_shuffle(n: int, da: int, db: int, order: Any, a: Any, b: Bytes) -> None:
    """Writes n codes of ``db`` bits, whose bit j is bit ``order[j]`` of the codes ``a`` of ``da`` bits.

    Raises:
        TypeError, ValueError: an array has another dtype or too few elements, or ``order`` names no bit.
    """
    op = "bitvec_shuffle"
    bits = np.unpackbits(read(op, "a", a, (n, -(-da // 8)), np.uint8), axis=1, bitorder="little")
    which = read(op, "order", order, (db,), np.int32)
    if which.size and (which.min() < 0 or which.max() >= da):
        raise ArgumentError(f"[{op}] order must hold numbers from 0 to {da - 1}. Received {which.max()}.")
    write(op, "b", b, np.packbits(bits[:, which], axis=1, bitorder="little"))


class _Bitstring:
    """A position in a code.

    Args:
        code: uint8.
        code_size: how many bytes.

    Attributes:
        i: the next bit.
    """

    def __init__(self, code: Bytes, code_size: int) -> None:
        self.code, self.code_size, self.i = _writable(type(self).__name__, code, code_size), code_size, 0

    def _next(self, method: str, nbit: int) -> slice:
        if not 0 <= nbit <= 8 * self.code_size - self.i:
            left = 8 * self.code_size - self.i
            raise ArgumentError(f"[{type(self).__name__}.{method}] nbit must be at most {left}. Received {nbit}.")
        self.i += nbit
        return slice(self.i - nbit, self.i)


class BitstringWriter(_Bitstring):
    """Puts numbers of any width behind each other, lowest bits first, into a code that holds zeros."""

    def write(self, x: int, nbit: int) -> None:
        """Writes the lowest ``nbit`` bits of a number.

        Raises:
            ValueError: there are not that many left.
        """
        at = self._next("write", nbit)
        bits = np.unpackbits(self.code, bitorder="little")
        bits[at] = [x >> i & 1 for i in range(nbit)]
        self.code[:] = np.packbits(bits, bitorder="little")


class BitstringReader(_Bitstring):
    """Takes numbers of any width out of a code."""

    def read(self, nbit: int) -> int:
        """The number that the next ``nbit`` bits are.

        Raises:
            ValueError: there are not that many left.
        """
        bits = np.unpackbits(self.code, bitorder="little")[self._next("read", nbit)]
        return sum(int(bit) << i for i, bit in enumerate(bits))


def _writable(op: str, code: Any, size: int) -> Bytes:
    if not isinstance(code, np.ndarray) or code.dtype != np.uint8 or code.size < size:
        received = f"{code.size} of {code.dtype}" if isinstance(code, np.ndarray) else type(code).__name__
        raise TypeError(f"[{op}] code must hold {size} uint8. Received {received}.")
    flat: Bytes = code.reshape(-1)[:size]
    return flat


# ---------------------------------------------------------------------------------------- ranks, matrices


def ranklist_handle_ties(k: int, idx: Ids, dis: Any) -> None:
    """Puts ids of equal distances, of k that are sorted by distance, in ascending order."""
    op = "ranklist_handle_ties"
    ids, near = read(op, "idx", idx, (k,), np.int64), read(op, "dis", dis, (k,))
    group = np.cumsum(np.concatenate([[False], near[1:] != near[:-1]])) if k else ids
    write(op, "idx", idx, ids[np.lexsort((ids, group))])


def merge_result_table_with(
    n: int, k: int, I0: Ids, D0: Floats, I1: Any, D1: Any, keep_min: bool = True, translation: int = 0
) -> int:
    """Writes the k best of two tables of results to the first; of equal ones, those of the second come first.

    Args:
        n, k: the tables have shape (n, k), rows best first.
        I0, D0: ids and distances of the first.
        I1, D1: ids and distances of the second.
        keep_min: whether smaller distances are better.
        translation: added to the ids of the second.

    Returns:
        How many results come from the second table.

    Raises:
        TypeError, ValueError: an array has another dtype, or too few elements.
    """
    op, shape = "merge_result_table_with", (n, k)
    new = read(op, "I1", I1, shape, np.int64)
    ids = np.concatenate([np.where(new < 0, new, new + translation), read(op, "I0", I0, shape, np.int64)], axis=1)
    near = np.concatenate([read(op, "D1", D1, shape), read(op, "D0", D0, shape)], axis=1)
    order = np.argsort(near if keep_min else -near, axis=1, kind="stable")[:, :k]
    write(op, "I0", I0, np.take_along_axis(ids, order, axis=1))
    write(op, "D0", D0, np.take_along_axis(near, order, axis=1))
    return int((order < k).sum())


def matrix_qr(m: int, n: int, a: Floats) -> None:
    """Makes the n vectors of m numbers that lie in ``a`` orthonormal, in place: Q of the QR decomposition.

    Raises:
        TypeError, ValueError: ``a`` is no array of float32, or has too few elements.
    """
    columns = read("matrix_qr", "a", a, (n, m)).T
    q, _ = mx.linalg.qr(mx.array(np.ascontiguousarray(columns)), stream=mx.cpu)
    write("matrix_qr", "a", a, np.ascontiguousarray(np.array(q).T))
