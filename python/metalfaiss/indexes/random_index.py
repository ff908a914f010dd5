"""Results at random: what a search is compared with."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.indexes.base import Index
from metalfaiss.metrics import METRIC_L2, is_similarity_metric
from metalfaiss.pointers_tables import ivec_checksum
from metalfaiss.random import RandomGenerator
from metalfaiss.search_parameters import SearchParameters

__all__ = ["IndexRandom"]

RECONSTRUCTION_SEED = 123332  # FAISS's
LOW = 2**32 - 1  # what the generator takes of a seed


class IndexRandom(Index):
    """Stores nothing and finds random ids at random distances, the same as FAISS for a query and seed.

    Args:
        d: the dimension of the vectors.
        ntotal: how many it pretends to have.
        seed: of the generator.
        metric_type: whether distances grow or fall.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: ``d`` is less than 1, or ``ntotal`` negative.

    Attributes:
        seed: as above.
    """

    def __init__(self, d: int, ntotal: int = 0, seed: int = 1234, metric_type: int = METRIC_L2) -> None:
        super().__init__(d, metric_type)
        self._ntotal = _host.integer(type(self).__name__, "ntotal", ntotal, 0)
        self.seed = _host.require_int(type(self).__name__, "seed", seed)

    @property
    def ntotal(self) -> int:
        return self._ntotal

    def _add(self, x: mx.array) -> None:
        self._ntotal += x.shape[0]

    def _reset(self) -> None:
        self._ntotal = 0

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        op = self._op("search")
        if params is not None:
            raise RuntimeError(f"[{op}] params must be None: nothing is searched. Received {params!r}.")
        if k > self.ntotal:
            raise RuntimeError(f"[{op}] k must be at most ntotal = {self.ntotal}. Received {k}.")
        return self._drawn(_host.to_numpy(x.astype(mx.float32))[0], k)

    def _drawn(self, queries: NDArray[np.float32], k: int) -> tuple[mx.array, mx.array]:
        found = [self._found(query, k) for query in queries]
        D = np.array([d for d, _ in found], dtype=np.float32).reshape(-1, k)
        return mx.array(D), mx.array(np.array([i for _, i in found], dtype=np.int64).reshape(-1, k))

    def _found(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], list[int]]:
        own = ivec_checksum(self.d, np.ascontiguousarray(query).view(np.int32))
        random = RandomGenerator((self.seed + own) & LOW)
        ids: dict[int, None] = {}  # in their order
        while len(ids) < k:
            ids[random.rand_int64() % self.ntotal] = None
        steps = np.array([random.rand_float() for _ in range(k)], dtype=np.float32)
        return np.cumsum(-steps if is_similarity_metric(self.metric_type) else steps, dtype=np.float32), list(ids)

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return self._reconstruct_batch(mx.arange(n0, n0 + ni))

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        rows = [self._made(key) for key in np.array(ids).tolist()]
        return mx.array(np.array(rows, dtype=np.float32).reshape(-1, self.d))

    def _made(self, key: int) -> list[float]:
        if key < 0:
            return [float("nan")] * self.d
        random = RandomGenerator((self.seed + RECONSTRUCTION_SEED + key) & LOW)
        return [random.rand_float() for _ in range(self.d)]
