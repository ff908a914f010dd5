"""FAISS's random numbers, bit for bit: the Mersenne Twister of C++'s ``std::mt19937``, in up to 1024 streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host

__all__ = ["lrand", "rand", "randint", "randn"]

_STREAMS = 1024  # from as many numbers on
_LARGEST = 2**32 - 1


def rand(n: Any, seed: int = 12345) -> NDArray[np.float32]:
    """Uniform float32 numbers from 0 to 1.

    Args:
        n: how many, or a shape.
        seed: of the generator.

    Returns:
        Shape ``n``.

    Raises:
        TypeError: ``seed`` is not an integer.
    """
    out = np.empty(n, dtype=np.float32)
    for part, stream in _streams("rand", out, seed):
        part[:] = _words(stream, part.size).astype(np.float32) / np.float32(_LARGEST)
    return out


def randn(n: Any, seed: int = 12345) -> NDArray[np.float32]:
    """Normal float32 numbers, by Marsaglia's polar method.

    Args:
        n: how many, or a shape.
        seed: of the generator.

    Returns:
        Shape ``n``.

    Raises:
        TypeError: ``seed`` is not an integer.
    """
    out = np.empty(n, dtype=np.float32)
    for part, stream in _streams("randn", out, seed):
        part[:] = _normal(stream, part.size)
    return out


def randint(n: Any, seed: int = 12345, vmax: int | None = None) -> NDArray[np.int64]:
    """Uniform int64 numbers of 62 bits, or from 0 to ``vmax - 1``.

    Args:
        n: how many, or a shape.
        seed: of the generator.
        vmax: if given, the numbers are taken modulo it.

    Returns:
        Shape ``n``.

    Raises:
        TypeError: ``seed`` is not an integer.
    """
    out = np.empty(n, dtype=np.int64)
    for part, stream in _streams("randint", out, seed):
        halves = (_words(stream, 2 * part.size) & 0x7FFFFFFF).astype(np.int64)
        part[:] = halves[::2] | (halves[1::2] << 31)
    return out if vmax is None else out % vmax


lrand = randint


def _words(seed: int, n: int) -> NDArray[np.uint32]:
    return np.random.RandomState(seed & _LARGEST).randint(0, 2**32, n, dtype=np.uint32)


def _streams(op: str, out: NDArray[Any], seed: int) -> Iterator[tuple[NDArray[Any], int]]:
    """Parts of the array, each with the seed of its stream."""
    first, step = (int(word) & 0x7FFFFFFF for word in _words(_host.require_int(op, "seed", seed), 2))
    flat = out.reshape(-1)
    count = 1 if flat.size < _STREAMS else _STREAMS
    for j in range(count):
        yield flat[j * flat.size // count : (j + 1) * flat.size // count], first + j * step


def _normal(seed: int, n: int) -> NDArray[np.float64]:
    drawn = int(1.4 * n) + 32  # points of a square, of which pi / 4 lie in the circle and give two numbers each
    while True:
        points = 2 * _words(seed, 2 * drawn).reshape(-1, 2).astype(np.float64) / _LARGEST - 1
        square = (points * points).sum(axis=1)
        inside = square < 1
        if 2 * np.count_nonzero(inside) >= n:
            points, square = points[inside], square[inside]
            numbers: NDArray[np.float64] = points * np.sqrt(-2 * np.log(square) / square)[:, None]
            return numbers.reshape(-1)[:n]
        drawn *= 2
