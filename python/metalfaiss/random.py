"""FAISS's random numbers, bit for bit: the Mersenne Twister of C++'s ``std::mt19937``, and SplitMix64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host

__all__ = [
    "RandomGenerator",
    "SplitMix64RandomGenerator",
    "draws",
    "lrand",
    "permutation",
    "rand",
    "rand_smooth_vectors",
    "randint",
    "randn",
    "splitmix64",
    "twister",
]

_STREAMS = 1024  # of the twister, each with a seed of its own, from as many numbers on
_LARGEST = 2**32 - 1
_MASK = 2**64 - 1


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


def rand_smooth_vectors(n: int, d: int, seed: int = 1234) -> NDArray[np.float32]:
    """Random vectors of ten degrees of freedom, as FAISS's tests and benchmarks make them.

    Args:
        n: how many.
        d: their dimension.
        seed: of the generator.

    Returns:
        Shape (n, d), float32, from -1 to 1.

    Raises:
        TypeError: ``seed`` is not an integer.
    """
    freedom = 10
    projected = randn((n, freedom), seed) @ rand((freedom, d), seed + 1)
    return np.asarray(np.sin(projected * (rand(d, seed + 2) * 4 + 0.1)), dtype=np.float32)


def twister(seed: int, n: int) -> NDArray[np.uint64]:
    """The first n outputs of the 32-bit Mersenne Twister (``std::mt19937``)."""
    return _words(seed, n).astype(np.uint64)


def splitmix64(seed: int, n: int) -> NDArray[np.uint64]:
    """The first n outputs of SplitMix64."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed & _MASK) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, n + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def permutation(n: int, count: int, seed: int) -> NDArray[np.int64]:
    """The first ``count`` entries of FAISS's random permutation of 0 to n - 1, in time proportional to ``count``."""
    steps = max(min(count, n - 1), 0)
    left = n - np.arange(steps, dtype=np.uint64)
    chosen = np.arange(steps) + (twister(seed, steps) % left).astype(np.int64)
    moved: dict[int, int] = {}  # what lies at a place, where it is not the place's own number
    out = []
    for i, j in enumerate(chosen.tolist()):
        out.append(moved.get(j, j))
        moved[j] = moved.pop(i, i)
    if count > steps and n > 0:
        out.append(moved.get(n - 1, n - 1))
    return np.array(out, dtype=np.int64)


def draws(n: int, count: int, seed: int) -> NDArray[np.int64]:
    """``count`` numbers below n from SplitMix64, the same one more than once perhaps."""
    return np.asarray((splitmix64(seed, count) & np.uint64(2**63 - 1)) % np.uint64(n), dtype=np.int64)


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


class RandomGenerator:
    """FAISS's generator of single numbers, by the Mersenne Twister.

    Args:
        seed: of the generator.
    """

    def __init__(self, seed: int = 1234) -> None:
        self._twister = np.random.RandomState(_host.require_int(type(self).__name__, "seed", seed) & _LARGEST)

    def _next(self) -> int:
        return int(self._twister.randint(0, 2**32, dtype=np.uint32))

    def rand_int(self, max: int | None = None) -> int:
        """A number of 31 bits, or from 0 to ``max - 1``."""
        return self._next() & 0x7FFFFFFF if max is None else self._next() % max

    def rand_int64(self) -> int:
        """A number of 62 bits."""
        return self.rand_int() | self.rand_int() << 31

    def rand_float(self) -> float:
        """A float32 from 0 to 1."""
        return float(np.float32(self._next()) / np.float32(_LARGEST))

    def rand_double(self) -> float:
        """A number from 0 to 1."""
        return self._next() / _LARGEST


class SplitMix64RandomGenerator:
    """FAISS's generator of single numbers, by SplitMix64.

    Args:
        seed: of the generator.
    """

    def __init__(self, seed: int = 1234) -> None:
        self._seed, self._drawn = _host.require_int(type(self).__name__, "seed", seed), 0

    def _next(self) -> int:
        at = self._seed + 0x9E3779B97F4A7C15 * self._drawn
        self._drawn += 1
        return int(splitmix64(at & _MASK, 1)[0])

    def rand_int(self, max: int | None = None) -> int:
        """A number of 31 bits, or from 0 to ``max - 1``."""
        return self._next() & 0x7FFFFFFF if max is None else self._next() % max

    def rand_int64(self) -> int:
        """A number of 63 bits."""
        return self._next() & (2**63 - 1)

    def rand_float(self) -> float:
        """A float32 from 0 to 1."""
        return float(np.float32(self._next()) / np.float32(_MASK))

    def rand_double(self) -> float:
        """A number from 0 to 1."""
        return self._next() / float(_MASK)
