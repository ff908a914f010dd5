"""The quantizer of an index with inverted lists: how it learns its centroids, and how numbers of lists are coded."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss.clustering import Clustering, ClusteringParameters
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.flat import IndexFlat

if TYPE_CHECKING:
    from metalfaiss.indexes.base import Index

    _Base = Index
else:
    _Base = object

__all__ = ["Level1Quantizer"]


class Level1Quantizer(_Base):
    """The part of an index with inverted lists, or of ``IndexShardsIVF``, that does not depend on what lists hold.

    Attributes:
        quantizer: the index of the centroids: any index that can be searched.
        nlist: how many lists.
        cp: how the centroids are trained.
        quantizer_trains_alone: 0: k-means with ``quantizer`` (0) or a flat index (2), or ``quantizer.train`` (1).
        clustering_index: the index that k-means assigns with in place of ``quantizer``, or None.
        own_fields: kept for programs written for FAISS: objects live as long as they are used.
    """

    quantizer: Index
    nlist: int

    def _init_level1(self, quantizer: Index, nlist: int) -> None:
        from metalfaiss.indexes.base import Index

        op = type(self).__name__
        if not isinstance(quantizer, Index):
            raise TypeError(f"[{op}] quantizer must be an index. Received {type(quantizer).__name__}.")
        if quantizer.d != self.d:
            raise ArgumentError(f"[{op}] quantizer must have d {self.d}. Received {quantizer.d}.")
        self.quantizer = quantizer
        self.nlist = _host.integer(op, "nlist", nlist, 1)
        self.own_fields = False
        self.quantizer_trains_alone = 0
        self.clustering_index: Index | None = None
        self.cp = ClusteringParameters(niter=10)

    def train_q1(self, n: int, x: NDArray[Any], verbose: bool, metric_type: int) -> None:
        """Trains the quantizer alone, on n vectors, as far as it needs to be.

        Args:
            n: how many vectors.
            x: shape (n, d).
            verbose: whether to print what is done.
            metric_type: of a flat index that k-means assigns with, where ``quantizer_trains_alone`` is 2; there is one
                only, that of this index.

        Raises:
            TypeError, ValueError, RuntimeError: as ``train`` does, or ``metric_type`` is another one.
        """
        op = self._op("train_q1")
        self._require_same(op, "metric_type", self.metric_type, metric_type)
        before, self.verbose = self.verbose, bool(verbose)
        try:
            self._train_quantizer(_host.vectors(op, x.reshape(-1)[: n * self.d].reshape(n, -1), self.d))
        finally:
            self.verbose = before

    def _train_quantizer(self, x: mx.array) -> None:
        op = self._op("train")
        quantizer = self.quantizer
        if quantizer.is_trained and quantizer.ntotal == self.nlist:
            return
        if self.quantizer_trains_alone == 1:
            quantizer.verbose = self.verbose
            quantizer.train(x)
            self._require_same(op, "nlist, as the quantizer's ntotal", self.nlist, quantizer.ntotal)
        elif self.quantizer_trains_alone in (0, 2):
            parameters = copy.copy(self.cp)
            parameters.verbose |= self.verbose
            clustering = Clustering(self.d, self.nlist, parameters)
            quantizer.reset()
            own = self.clustering_index
            if self.quantizer_trains_alone == 2 and own is None:
                own = IndexFlat(self.d, self.metric_type)
            clustering.train(x, quantizer if own is None else own)
            if own is not None:
                centroids = np.array(clustering.centroids, dtype=np.float32).reshape(self.nlist, self.d)
                if self.quantizer_trains_alone == 2 and not quantizer.is_trained:
                    quantizer.train(centroids)
                quantizer.add(centroids)
            quantizer.is_trained = True
        else:
            raise ArgumentError(
                f"[{op}] quantizer_trains_alone must be 0, 1 or 2. Received {self.quantizer_trains_alone!r}."
            )

    def coarse_code_size(self) -> int:
        """Bytes of the number of a list in the codes of ``sa_encode``."""
        return max((self.nlist - 1).bit_length() + 7, 0) // 8

    def _listno_codes(self, lists: NDArray[np.int64]) -> NDArray[np.uint8]:
        return lists.astype("<i8")[:, None].view(np.uint8)[:, : self.coarse_code_size()]

    def _lists_of(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The numbers of lists that codes begin with."""
        coarse = self.coarse_code_size()
        lists = np.zeros((len(codes), 8), dtype=np.uint8)
        lists[:, :coarse] = codes[:, :coarse]
        return lists.view("<i8")[:, 0].astype(np.int64)

    def encode_listno(self, list_no: int, code: NDArray[np.uint8]) -> None:
        """Writes the number of a list to the first ``coarse_code_size()`` bytes of a code."""
        code[: self.coarse_code_size()] = self._listno_codes(np.array([list_no], dtype=np.int64))[0]

    def decode_listno(self, code: NDArray[np.uint8]) -> int:
        """The number of the list that a code begins with."""
        return int(self._lists_of(np.asarray(code, dtype=np.uint8)[None])[0])
