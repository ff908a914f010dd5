"""Which points k-means begins with, where they are not chosen at random.

k-means++: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding" (2007). AFK-MC2: Bachem, Lucic,
Hassani and Krause, "Fast and provably good seedings for k-means" (2016).
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.pairwise import pairwise_distances

__all__ = ["chain", "plus_plus"]

_AT_ONCE = 16  # steps in one graph


def plus_plus(x: mx.array, k: int, given: mx.array, seed: int, stream: Stream) -> mx.array:
    """k of the vectors, each chosen with a probability in proportion to its squared distance to those before it.

    Takes one pass over the vectors for each. The host sees no values.

    Args:
        x: shape (n, d), float32.
        k: how many.
        given: centroids that there are already, shape (m, d).
        seed: of the choice.
        stream: where to run.

    Returns:
        Shape (k, d).
    """
    draws = np.random.default_rng(seed).random(k + 1, dtype=np.float32)
    if len(given):
        nearest, chosen = mx.min(pairwise_distances(x, given, stream=stream), axis=1), []
    else:
        chosen = [x[int(draws[k] * x.shape[0]) % x.shape[0]][None]]
        nearest = pairwise_distances(x, chosen[0], stream=stream)[:, 0]
    while len(chosen) < k:
        sums = mx.cumsum(nearest)
        at = mx.sum((sums <= sums[-1] * float(draws[len(chosen)])).astype(mx.int32))
        chosen.append(mx.take(x, mx.minimum(at, x.shape[0] - 1)[None], axis=0))
        nearest = mx.minimum(nearest, pairwise_distances(x, chosen[-1], stream=stream)[:, 0])
        if len(chosen) % _AT_ONCE == 0:
            mx.eval(nearest, *chosen[-_AT_ONCE:])
    return mx.concatenate(chosen[:k]) if k else given[:0]


def chain(x: mx.array, k: int, given: mx.array, seed: int, length: int, stream: Stream) -> mx.array:
    """k of the vectors, chosen nearly as by ``plus_plus``: each is where a Markov chain of ``length`` points ends.

    Looks at ``k * length`` vectors after one pass over all of them. The chain itself runs on the host.

    Args:
        x, k, given, seed, stream: as for ``plus_plus``.
        length: of the chain, at least 1.

    Returns:
        Shape (k, d).
    """
    random, n = np.random.default_rng(seed), x.shape[0]
    chosen = given
    if not len(given):
        chosen = x[int(random.integers(n))][None]
    (first,) = _host.to_numpy(mx.min(pairwise_distances(x, chosen, stream=stream), axis=1))
    total = first.sum(dtype=np.float64)
    proposal = (first / total if total > 0 else np.full(n, 1 / n)) / 2 + 0.5 / n
    proposal /= proposal.sum()
    while len(chosen) < len(given) + k:
        points = random.choice(n, length, p=proposal)
        candidates = mx.take(x, mx.array(points), axis=0)
        (nearest,) = _host.to_numpy(mx.min(pairwise_distances(candidates, chosen, stream=stream), axis=1))
        end = _end(nearest.astype(np.float64) / proposal[points], random.random(length))
        chosen = mx.concatenate([chosen, candidates[end : end + 1]])
    return chosen[len(given) :]


def _end(weights: NDArray[np.float64], draws: NDArray[np.float64]) -> int:
    """Where a chain ends that moves to a point of w' from one of w with the probability w' / w."""
    at = 0
    for i in range(1, weights.size):
        if weights[at] == 0 or weights[i] > draws[i] * weights[at]:
            at = i
    return at
