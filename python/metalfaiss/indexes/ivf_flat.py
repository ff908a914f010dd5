"""Inverted lists of the vectors themselves."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array
from metalfaiss.indexes._assign import nearest_at_once, worthwhile
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.metrics import METRIC_L2
from metalfaiss.numeric import Float32
from metalfaiss.scalar_quantizer import float_codec

__all__ = ["IndexIVFFlat"]


class IndexIVFFlat(IndexIVF):
    """Inverted lists of float32 vectors: a search is exact among the lists that it looks at.

    Args:
        quantizer: the index of the centroids, empty or trained.
        d: the dimension of the vectors.
        nlist: how many lists.
        metric: ``METRIC_L2`` or ``METRIC_INNER_PRODUCT``.
        own_invlists: kept for FAISS's signature.

    Raises:
        TypeError: ``quantizer`` is no index, or a number is not an integer.
        ValueError: a number is less than 1, the quantizer has another dimension, or there is no such metric.
    """

    def __init__(
        self, quantizer: Index, d: int, nlist: int, metric: int = METRIC_L2, own_invlists: bool = True
    ) -> None:
        super().__init__(quantizer, d, nlist, 4 * d, metric)
        self.own_invlists = own_invlists
        self.by_residual = False

    def add(self, x: Array, numeric_type: int = Float32) -> None:
        """``Index.add``; NumPy vectors are read where they lie, and copied once: into their lists.

        Raises:
            TypeError, ValueError, RuntimeError: as ``Index.add`` does.
        """
        if isinstance(x, np.ndarray) and numeric_type == Float32:
            lists = self._lists_at_once(x)
            if lists is not None:
                with self._lock:
                    self._store(x.view(np.uint8), np.arange(self.ntotal, self.ntotal + len(lists)), lists)
                return
        super().add(x, numeric_type)

    def _lists_at_once(self, x: NDArray[np.float32]) -> NDArray[np.int64] | None:
        """The list of each vector (n,), found without a graph; None where that is not possible, or not faster."""
        _host.check_vectors(self._op("add"), x, self.d)
        self._require_trained(self._op("add"))
        centroids = self._plain_centroids()
        if centroids is None or not worthwhile(x.shape, self.nlist, self.quantizer.metric_type, None):
            return None
        plain = x.dtype == np.float32 and x.flags.c_contiguous and x.flags.aligned
        return nearest_at_once(x, centroids) if plain else None

    def _codec(self) -> _core.Codec:
        return float_codec(self.d)

    def _encode(self, x: mx.array, lists: mx.array) -> mx.array:
        return x.view(mx.uint8)

    def _decode(self, codes: mx.array, lists: mx.array) -> mx.array:
        return codes.view(mx.float32)
