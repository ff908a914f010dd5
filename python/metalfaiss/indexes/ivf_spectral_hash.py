"""Inverted lists of bits, searched by Hamming distance."""

from __future__ import annotations

from typing import Any, NoReturn

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.indexes.lsh import IndexLSH
from metalfaiss.indexes.pretransform import IndexPreTransform
from metalfaiss.metrics import METRIC_L2, worst
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selection import select_k
from metalfaiss.transforms import RandomRotationMatrix, VectorTransform
from metalfaiss.vectors import Float32Vector

__all__ = ["IndexIVFSpectralHash"]

_AT_ONCE = 1 << 22  # results of single lists that are held


class IndexIVFSpectralHash(IndexIVF):
    """Codes of one bit for each component of transformed vectors; distances are Hamming distances, as float32.

    A bit says in which half of a period a component lies, counted from a threshold. The code of a query is that of the
    list that is searched, where lists have thresholds of their own.

    Args:
        quantizer: the index of the centroids, empty or trained.
        d: the dimension of the vectors.
        nlist: how many lists.
        nbit: the bits of a code.
        period: of the bits; a large negative one makes them the signs.
        own_invlists: kept for FAISS's signature.

    Raises:
        TypeError: ``quantizer`` is no index, or a number is not an integer.
        ValueError: a number is less than 1, the period 0, or the quantizer has another dimension.

    Attributes:
        nbit, period: as above.
        threshold_type: ``Thresh_global``: 0; ``Thresh_centroid``: the centroid; ``Thresh_centroid_half``: a quarter
            of a period below it; ``Thresh_median``: the medians of the list's training vectors.
    """

    Thresh_global, Thresh_centroid, Thresh_centroid_half, Thresh_median = range(4)

    def __init__(
        self, quantizer: Index, d: int, nlist: int, nbit: int, period: float, own_invlists: bool = True
    ) -> None:
        nbit = _host.integer(type(self).__name__, "nbit", nbit, 1)
        if not np.isfinite(period) or period == 0:
            raise ArgumentError(f"[{type(self).__name__}] period must be finite, and not 0. Received {period}.")
        super().__init__(quantizer, d, nlist, (nbit + 7) // 8, METRIC_L2)
        self.nbit, self.period, self.threshold_type = nbit, float(period), self.Thresh_global
        self._vt: Any = None
        self.own_invlists, self.by_residual, self.is_trained = own_invlists, False, False
        self._set_thresholds(np.empty(0, dtype=np.float32))

    @property
    def vt(self) -> Any:
        """The transform, at first a random rotation."""
        if self._vt is None:  # not before it is wanted: a file that is read brings its own
            self._vt = RandomRotationMatrix(self.d, self.nbit)
            self._vt.init(1234)
        return self._vt

    @property
    def trained(self) -> Float32Vector:
        """The thresholds, nlist * nbit float32, settable; empty where all are 0."""
        return Float32Vector(self._thresholds, self._set_thresholds)

    @trained.setter
    def trained(self, values: Any) -> None:
        self._set_thresholds(np.asarray(values, dtype=np.float32))

    def _set_thresholds(self, values: NDArray[np.float32]) -> None:
        if 0 < values.size < self.nlist * self.nbit:
            wanted = f"{self.nlist * self.nbit} values, or none"
            raise ArgumentError(f"[{self._op('trained')}] There must be {wanted}. Received {values.size}.")
        self._thresholds = values.reshape(-1).copy()

    def replace_vt(self, vt: Any, own: bool = False) -> None:
        """Takes another transform, or that of an ``IndexPreTransform`` around an ``IndexLSH`` of plain signs.

        Args:
            vt: leads from ``d`` to ``nbit`` dimensions.
            own: kept for FAISS's signature.

        Raises:
            TypeError: it is neither.
            RuntimeError: its dimensions are others, or there is more to the index than one transform and signs.
        """
        op = self._op("replace_vt")
        if isinstance(vt, IndexPreTransform):
            signs = vt.index
            plain = isinstance(signs, IndexLSH) and not (signs.rotate_data or signs.train_thresholds)
            if len(vt.chain) != 1 or not plain:
                raise RuntimeError(f"[{op}] vt must be one transform before an IndexLSH of signs. Received {vt}.")
            vt = vt.chain[0]
        if not isinstance(vt, VectorTransform):
            raise TypeError(f"[{op}] vt must be a VectorTransform. Received {type(vt).__name__}.")
        if (vt.d_in, vt.d_out) != (self.d, self.nbit):
            wanted, received = f"from {self.d} to {self.nbit} dimensions", f"{vt.d_in} to {vt.d_out}"
            raise ArgumentError(f"[{op}] vt must lead {wanted}. Received {received}.")
        self._vt, self.threshold_type = vt, self.Thresh_global
        full = self.quantizer.is_trained and self.quantizer.ntotal == self.nlist
        self.is_trained = full and vt.is_trained

    # ------------------------------------------------------------------------------------ training

    def _train(self, x: mx.array) -> None:
        self._train_quantizer(x)
        if not self.vt.is_trained:
            self.vt.train(x)
        if self.threshold_type == self.Thresh_median:
            self._set_thresholds(self._medians(x).ravel())
        elif self.threshold_type in (self.Thresh_centroid, self.Thresh_centroid_half):
            (centroids,) = _host.to_numpy(self.vt.apply(self._centroids()))
            shift = 0.25 * self.period if self.threshold_type == self.Thresh_centroid_half else 0.0
            self._set_thresholds((centroids - np.float32(shift)).ravel())
        elif self.threshold_type != self.Thresh_global:
            op = self._op("train")
            raise ArgumentError(f"[{op}] threshold_type must be from 0 to 3. Received {self.threshold_type!r}.")
        self.is_trained = True

    def _medians(self, x: mx.array) -> NDArray[np.float32]:
        """Of each list and bit, 0 where no vector is near the centroid."""
        lists, vectors = _host.to_numpy(self._assigned(x), self.vt.apply(x))
        medians = np.zeros((self.nlist, self.nbit), dtype=np.float32)
        for i in np.unique(lists).tolist():
            medians[i] = np.median(vectors[lists == i], axis=0)
        return medians

    # ----------------------------------------------------------------------------------- encoding

    def _plain_centroids(self) -> mx.array | None:
        return None  # the ways past ``_scan``

    def _codec(self) -> NoReturn:
        self._unsupported("reconstruct")

    def _encode(self, x: mx.array, lists: mx.array) -> mx.array:
        return self._bits(self.vt.apply(x), lists)

    def _decode(self, codes: mx.array, lists: mx.array) -> mx.array:
        self._unsupported("reconstruct")

    def _bits(self, x: mx.array, lists: mx.array) -> mx.array:
        """Codes (n, code_size) of transformed vectors (n, nbit) in lists (n,)."""
        if self.threshold_type != self.Thresh_global:
            thresholds = mx.array(self._thresholds[: self.nlist * self.nbit].reshape(self.nlist, self.nbit))
            x = x - mx.take(thresholds, mx.maximum(lists, 0), axis=0)
        bits = mx.floor(x * (2 / self.period)).astype(mx.int64) & 1
        padded = mx.pad(bits, [(0, 0), (0, 8 * self.code_size - self.nbit)]).reshape(x.shape[0], self.code_size, 8)
        return mx.sum(padded << mx.arange(8), axis=-1).astype(mx.uint8)

    # ---------------------------------------------------------------------------------- searching

    def _pairs(self, x: mx.array, probes: mx.array) -> tuple[mx.array, mx.array]:
        """Codes and lists (n, p) of queries, each once; or once for each list, p of which is then 1."""
        x = self.vt.apply(x)
        if self.threshold_type == self.Thresh_global:
            return self._bits(x, probes[:, 0]), probes
        lists = probes.reshape(-1)
        return self._bits(mx.repeat(x, probes.shape[1], axis=0), lists), lists[:, None]

    def _scan(
        self,
        x: mx.array,
        k: int,
        probes: mx.array,
        params: SearchParameters | None,
        stream: Stream,
        places: bool = False,
    ) -> tuple[mx.array, mx.array]:
        if places:
            self._unsupported("search_and_return_codes")
        settings = self._settings(self._op("search"), params)
        if settings.limits["max_codes"] or settings.limits.get("ensure_topk_full"):
            raise ArgumentError(
                f"[{self._op('search')}] max_codes must be 0 and ensure_topk_full False. Received {settings.limits}."
            )
        step, found = max(1, _AT_ONCE // (probes.shape[1] * k)), []
        for i in range(0, max(x.shape[0], 1), step):
            codes, lists = self._pairs(x[i : i + step], probes[i : i + step])
            D, I = _core.search_hamming_lists(codes, lists, k, self.invlists._native, settings.sel, 0, stream=stream)
            if lists.shape[1] != probes.shape[1]:
                D, I = D.reshape(-1, probes.shape[1] * k), I.reshape(-1, probes.shape[1] * k)
                D, at = select_k(D.astype(mx.float32), k, stream=stream)
                I = mx.take_along_axis(I, at, axis=1)
            found.append((mx.where(I < 0, mx.array(worst(METRIC_L2)), D.astype(mx.float32)), I))
        return mx.concatenate([D for D, _ in found]), mx.concatenate([I for _, I in found])

    def _range_scan(
        self, x: mx.array, radius: float, probes: mx.array, params: SearchParameters | None
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        settings = self._settings(self._op("range_search"), params)
        codes, lists = self._pairs(x, probes)
        below = int(np.ceil(min(max(radius, 0.0), self.nbit + 1.0))) if radius == radius else 0
        found = _core.range_search_hamming_lists(codes, lists, below, self.invlists._native, settings.sel)
        lims, D, I = _host.to_numpy(*found)
        return lims[:: probes.shape[1] // lists.shape[1]], D.astype(np.float32), I

    def _check_compatible(self, op: str, other: Any) -> None:
        super()._check_compatible(op, other)
        for name in ("nbit", "period", "threshold_type"):
            self._require_same(op, name, getattr(self, name), getattr(other, name))
        self.vt.check_identical(other.vt)
        self._require_same(op, "trained", self._thresholds.tolist(), other._thresholds.tolist())
