"""FAISS's random numbers: the same seed gives the same values.

Its generators are the Mersenne Twister of 32 bits, whose raw output NumPy has, and SplitMix64.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["draws", "permutation", "randn", "splitmix64", "twister"]

_BLOCKS = 1024  # of independently seeded values, from that many values on
_MASK = 2**64 - 1


def twister(seed: int, n: int) -> NDArray[np.uint64]:
    """The first n outputs of the 32-bit Mersenne Twister (``std::mt19937``)."""
    state = np.random.RandomState(seed & 0xFFFFFFFF)
    return np.asarray(state._bit_generator.random_raw(n), dtype=np.uint64)


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


def randn(n: int, seed: int) -> NDArray[np.float32]:
    """n normal values, as ``faiss.randn`` makes them (Marsaglia's polar method, block by block)."""
    blocks = 1 if n < _BLOCKS else _BLOCKS
    first = twister(seed, 2) & np.uint64(0x7FFFFFFF)
    a, b = int(first[0]), int(first[1])
    bounds = [j * n // blocks for j in range(blocks + 1)]
    parts = [_normal_block(bounds[j + 1] - bounds[j], a + j * b) for j in range(blocks)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _normal_block(n: int, seed: int) -> NDArray[np.float32]:
    pairs = (n + 1) // 2
    trials = 2 * pairs + 16
    while True:
        raw = twister(seed, 2 * trials) / np.float64(2**32 - 1)
        u = 2.0 * raw.reshape(-1, 2) - 1
        s = (u * u).sum(axis=1)
        inside = np.flatnonzero(s < 1.0)[:pairs]
        if len(inside) == pairs:
            break
        trials *= 2
    s = s[inside]
    scale = np.array([math.sqrt(-2.0 * math.log(v) / v) for v in s.tolist()])
    return np.asarray((u[inside] * scale[:, None]).reshape(-1)[:n], dtype=np.float32)
