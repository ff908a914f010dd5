"""Inverted lists whose quantizer sees other vectors than they hold."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.indexes.level1 import Level1Quantizer
from metalfaiss.search_parameters import SearchParameters, SearchParametersIVF

__all__ = ["IndexIVFIndependentQuantizer"]


class IndexIVFIndependentQuantizer(Index):
    """A quantizer finds the lists of vectors as they are; what the lists hold are the transformed ones.

    Args:
        quantizer: the index of the centroids.
        index_ivf: the lists, with ``nlist`` and ``nprobe``; its own quantizer holds the transformed centroids.
        vt: the transform, or None.

    Raises:
        TypeError: one of them is of another type.
        ValueError: dimensions, or the numbers of lists and centroids, do not agree.

    Attributes:
        quantizer, index_ivf, vt: as above.
    """

    def __init__(self, quantizer: Index, index_ivf: IndexIVF, vt: Any = None) -> None:
        name = type(self).__name__
        _checks.index(name, "quantizer", quantizer)
        if not isinstance(index_ivf, IndexIVF):
            raise TypeError(f"[{name}] index_ivf must be an IndexIVF. Received {type(index_ivf).__name__}.")
        shape = (quantizer.d, quantizer.d) if vt is None else (vt.d_in, vt.d_out)
        if shape != (quantizer.d, index_ivf.d):
            wanted = f"from {quantizer.d} to {index_ivf.d} dimensions"
            raise ArgumentError(f"[{name}] vt must lead {wanted}. Received {shape[0]} to {shape[1]}.")
        if quantizer.is_trained and quantizer.ntotal not in (0, index_ivf.nlist):
            raise ArgumentError(f"[{name}] quantizer must hold {index_ivf.nlist} vectors. Received {quantizer.ntotal}.")
        super().__init__(quantizer.d, index_ivf.metric_type)
        self.quantizer, self.index_ivf, self.vt = quantizer, index_ivf, vt
        self.own_fields = False
        full = quantizer.is_trained and quantizer.ntotal == index_ivf.nlist
        self.is_trained = full and index_ivf.is_trained and (vt is None or vt.is_trained)

    @property
    def ntotal(self) -> int:
        return self.index_ivf.ntotal

    def _accepted_parameters(self) -> _checks.Accepted:
        return SearchParametersIVF

    def _forward(self, x: mx.array) -> mx.array:
        x = x.astype(mx.float32)
        return x if self.vt is None else self.vt.apply(x)

    def _train(self, x: mx.array) -> None:
        ivf = self.index_ivf
        level1 = _Centroids(self.quantizer, ivf.nlist, self.metric_type)
        level1.verbose = self.verbose
        level1._train_quantizer(x)
        if self.vt is not None and not self.vt.is_trained:
            self.vt.train(x)
        centroids = self._forward(self.quantizer._reconstruct_n(0, ivf.nlist))
        if not ivf.quantizer.is_trained:
            ivf.quantizer.train(centroids)
        ivf.quantizer.add(_host.finish(centroids))
        most = ivf._train_encoder_num_vectors()
        if most:
            order = np.random.default_rng(1234).permutation(x.shape[0])[:most]
            x = x[mx.array(order)] if x.shape[0] > most else x
            lists = self.quantizer._find(self._op("train"), x, 1, None, None)[1][:, 0]
            ivf._train_encoder(ivf._residuals(self._forward(x), lists))
        ivf.is_trained = self.is_trained = True

    def _add(self, x: mx.array) -> None:
        n, first = x.shape[0], self.index_ivf.ntotal
        _, lists = self.quantizer._find(self._op("add"), x.astype(mx.float32), 1, None, None)
        self.index_ivf._add_core(self._forward(x), np.arange(first, first + n), _host.to_numpy(lists)[0].reshape(-1))

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        op, ivf = self._op("search"), self.index_ivf
        settings = ivf._settings(op, params)
        probes = self.quantizer._find(op, x, settings.nprobe, settings.quantizer_params, stream)[1]
        return ivf._scan(self._forward(x), k, probes, params, stream)

    def _ids(self) -> Any:
        return self.index_ivf._ids()

    def _reset(self) -> None:
        self.index_ivf._reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.quantizer!r}, {self.index_ivf!r}, {self.vt!r})"


class _Centroids(Level1Quantizer, Index):
    """What trains a quantizer."""

    def __init__(self, quantizer: Index, nlist: int, metric: int) -> None:
        super().__init__(quantizer.d, metric)
        self._init_level1(quantizer, nlist)

    @property
    def ntotal(self) -> int:
        return 0

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        self._unsupported("search")

    def _reset(self) -> None:
        pass
