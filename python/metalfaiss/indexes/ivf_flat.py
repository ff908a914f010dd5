"""Inverted lists of the vectors themselves."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.metrics import METRIC_L2
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

    _encodes_at_once = True

    def __init__(
        self, quantizer: Index, d: int, nlist: int, metric: int = METRIC_L2, own_invlists: bool = True
    ) -> None:
        super().__init__(quantizer, d, nlist, 4 * d, metric)
        self.own_invlists = own_invlists
        self.by_residual = False

    def _codec(self) -> _core.Codec:
        return float_codec(self.d)

    def _codes_at_once(
        self, x: NDArray[np.float32], centroids: mx.array, lists: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        return x.view(np.uint8)

    def _encode(self, x: mx.array, lists: mx.array) -> mx.array:
        return x.view(mx.uint8)

    def _decode(self, codes: mx.array, lists: mx.array) -> mx.array:
        return codes.view(mx.float32)
