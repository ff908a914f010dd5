"""Inverted lists of codes of the scalar quantizer."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from metalfaiss import _core
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.metrics import METRIC_L2
from metalfaiss.scalar_quantizer import ScalarQuantizer

__all__ = ["IndexIVFScalarQuantizer"]

_TRAINING_VECTORS = 100_000


class IndexIVFScalarQuantizer(IndexIVF):
    """Inverted lists of scalar quantizer codes. Distances are those of the decoded vectors.

    Args:
        quantizer: the index of the centroids, empty or trained.
        d: the dimension of the vectors.
        nlist: how many lists.
        qtype: a type of ``ScalarQuantizer``.
        metric: ``METRIC_L2`` or ``METRIC_INNER_PRODUCT``.
        by_residual: whether differences to the centroid are coded, which are smaller than the vectors.
        own_invlists: kept for FAISS's signature.

    Attributes:
        sq: the scalar quantizer.

    Raises:
        TypeError: ``quantizer`` is no index, or a number is not an integer.
        ValueError: a number is less than 1, the quantizer has another dimension, or there is no such metric.
        NotImplementedError: there is no such type yet.
    """

    _encodes_at_once = True

    def __init__(
        self,
        quantizer: Index,
        d: int,
        nlist: int,
        qtype: int = ScalarQuantizer.QT_8bit,
        metric: int = METRIC_L2,
        by_residual: bool = True,
        own_invlists: bool = True,
    ) -> None:
        sq = ScalarQuantizer(d, qtype)
        super().__init__(quantizer, d, nlist, sq.code_size, metric)
        self.sq = sq
        self.by_residual = by_residual
        self.own_invlists = own_invlists
        self.is_trained = False

    def _codec(self) -> _core.Codec:
        return self.sq._require_codec(type(self).__name__)

    def _train_encoder(self, x: mx.array) -> None:
        self.sq.train(x)

    def _train_encoder_num_vectors(self) -> int:
        return _TRAINING_VECTORS

    def _check_compatible(self, op: str, other: Any) -> None:
        super()._check_compatible(op, other)
        self._require_same(op, "qtype", self.sq.qtype, other.sq.qtype)
        self._require_same(op, "training", self.sq.trained.tolist(), other.sq.trained.tolist())
