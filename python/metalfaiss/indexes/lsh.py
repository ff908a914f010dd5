"""Locality-sensitive hashing: one bit a projection, searched by Hamming distance."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.hamming import bitvecs2fvecs, fvecs2bitvecs
from metalfaiss.indexes import _checks, _chunks
from metalfaiss.indexes._code_store import CodeStore
from metalfaiss.indexes._merge import Ranges, concatenated
from metalfaiss.indexes.flat import selected
from metalfaiss.indexes.flat_codes import IndexFlatCodes
from metalfaiss.metrics import METRIC_L2
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.transforms import LinearTransform, RandomRotationMatrix
from metalfaiss.vectors import Float32Vector, UInt8Vector

__all__ = ["IndexLSH"]

_SEED = 5  # FAISS's, of the rotation
_DECODED = 2**22  # numbers of decoded vectors to hold at once


class IndexLSH(IndexFlatCodes):
    """Signs of random projections as codes (Charikar, "Similarity estimation techniques from rounding algorithms",
    2002). Distances are Hamming distances as float32; those of ``range_search`` are squared L2 distances to the vectors
    that the codes stand for, as in FAISS. There are no derivatives.

    Args:
        d: the dimension of the vectors.
        nbits: the bits of a code.
        rotate_data: whether vectors are rotated at random first, by FAISS's rotation; otherwise the first ``nbits``
            components are taken.
        train_thresholds: whether each bit compares with the median of the training vectors instead of 0.

    Raises:
        TypeError: ``d`` or ``nbits`` is not an integer.
        ValueError: it is less than 1, or ``nbits`` is greater than ``d`` without rotation.

    Attributes:
        nbits, rotate_data, train_thresholds: as above.
        rrot: the rotation, a ``RandomRotationMatrix``.
        thresholds: what the bits compare with, ``nbits`` values when they are trained, else none.
        code_size: the bytes of a code.
    """

    def __init__(self, d: int, nbits: int, rotate_data: bool = True, train_thresholds: bool = False) -> None:
        super().__init__(d)
        self.nbits = _host.integer("IndexLSH", "nbits", nbits, 1)
        self.rotate_data, self.train_thresholds = bool(rotate_data), bool(train_thresholds)
        if not rotate_data and nbits > d:
            raise ArgumentError(f"[IndexLSH] nbits must be at most d = {d} without rotation. Received {nbits}.")
        self.rrot = RandomRotationMatrix(d, nbits)
        if rotate_data:
            self.rrot.init(_SEED)
        else:
            self.rrot.is_trained = False
        self._thresholds = np.empty(0, dtype=np.float32)
        self.is_trained = not train_thresholds
        self._reset()

    @property
    def ntotal(self) -> int:
        return len(self._store)

    @property
    def code_size(self) -> int:
        """The bytes of a code."""
        return -(-self.nbits // 8)

    @property
    def thresholds(self) -> Float32Vector:
        """What the bits compare with; settable."""
        return Float32Vector(self._thresholds, self._set_thresholds)

    @thresholds.setter
    def thresholds(self, values: Any) -> None:
        self._set_thresholds(np.asarray(values))

    def _set_thresholds(self, values: NDArray[Any]) -> None:
        if values.size not in (0, self.nbits):
            raise ArgumentError(f"[IndexLSH.thresholds] There must be {self.nbits} thresholds. Received {values.size}.")
        self._thresholds = np.array(values, dtype=np.float32)

    @property
    def codes(self) -> UInt8Vector:
        """The stored codes, one behind the other; settable."""
        return UInt8Vector(_host.to_numpy(self._store.joined())[0].reshape(-1), self._set_codes)

    @codes.setter
    def codes(self, codes: Any) -> None:
        self._set_codes(np.asarray(codes))

    def _set_codes(self, codes: NDArray[Any]) -> None:
        if codes.size % self.code_size:
            raise ArgumentError(f"[IndexLSH.codes] Codes must have {self.code_size} bytes. Received {codes.size}.")
        rows = np.array(codes, dtype=np.uint8).reshape(-1, self.code_size)
        self._store = CodeStore(self.code_size, mx.array(rows))

    # ----------------------------------------------------------------------------------- encoding

    def _projected(self, x: mx.array) -> mx.array:
        x = x.astype(mx.float32)
        return self.rrot.apply(x) if self.rotate_data else x[:, : self.nbits]

    def _preprocessed(self, x: mx.array) -> mx.array:
        projected = self._projected(x)
        return projected - mx.array(self._thresholds) if self.train_thresholds else projected

    def apply_preprocess(self, x: Any) -> Any:
        """The values whose signs are the code: float32, shape (n, nbits), in the form of ``x``, shape (n, d).

        Raises:
            TypeError, ValueError, RuntimeError: as ``sa_encode`` does.
        """
        op = self._op("apply_preprocess")
        vectors = _host.vectors(op, x, self.d)
        self._require_trained(op)
        return _checks.returned(x, self._preprocessed(vectors), None)

    def _train(self, x: mx.array) -> None:
        if self.train_thresholds:
            if x.shape[0] == 0:
                raise RuntimeError(f"[{self._op('train')}] x must hold vectors to take medians of. Received none.")
            ordered = mx.sort(self._projected(x), axis=0)
            middle = x.shape[0] // 2
            median = ordered[middle] if x.shape[0] % 2 else (ordered[middle - 1] + ordered[middle]) / 2
            self._thresholds = _host.to_numpy(median)[0]
        self.is_trained = True

    def transfer_thresholds(self, vt: LinearTransform) -> None:
        """Moves the thresholds into the bias of the transform that vectors come through; then bits compare with 0.

        Raises:
            RuntimeError: the thresholds are not trained, or the transform has another dimension.
        """
        op = self._op("transfer_thresholds")
        if not self.train_thresholds or not self.is_trained:
            raise RuntimeError(f"[{op}] The index must have trained thresholds. Received one that has none.")
        if vt.d_out != self.nbits or self.rotate_data:
            raise RuntimeError(
                f"[{op}] vt must put out {self.nbits} values, not rotated again. Received {vt.d_out}, "
                f"rotate_data={self.rotate_data}."
            )
        bias = np.asarray(vt.b, dtype=np.float32) if vt.have_bias else np.zeros(self.nbits, dtype=np.float32)
        vt.b, vt.have_bias = Float32Vector(bias - self._thresholds), True
        self.train_thresholds, self._thresholds = False, self._thresholds[:0]

    def _sa_code_size(self) -> int:
        return self.code_size

    def _sa_encode(self, x: mx.array) -> mx.array:
        codes: mx.array = fvecs2bitvecs(self._preprocessed(x))
        return codes

    def _sa_decode(self, codes: mx.array) -> mx.array:
        signs: mx.array = bitvecs2fvecs(codes, self.nbits)
        if self.train_thresholds:
            signs = signs + mx.array(self._thresholds)
        if self.rotate_data:
            return self.rrot.reverse_transform(signs)
        return mx.pad(signs, [(0, 0), (0, self.d - self.nbits)])

    # ------------------------------------------------------------------------ storing, searching

    def _reset(self) -> None:
        self._store = CodeStore(self.code_size)

    def _add(self, x: mx.array) -> None:
        self._store.append(_host.finish(self._sa_encode(x), x))

    def _add_sa_codes(self, codes: NDArray[np.uint8], ids: NDArray[np.int64] | None) -> None:
        self._refuse_ids(ids)
        self._store.append(mx.array(codes))

    def _permute(self, order: NDArray[np.int64]) -> None:
        self._store = CodeStore(self.code_size, self._store.take(mx.array(order)))

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        D, I = self._store.search(self._sa_encode(x), k, params, stream)
        missing = mx.array(np.finfo(np.float32).max, dtype=mx.float32)
        return mx.where(mx.less(I, 0, stream=stream), missing, D.astype(mx.float32, stream=stream), stream=stream), I

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Ranges:
        """By L2 distances to the vectors that codes stand for, as in FAISS: ``search`` has Hamming distances."""
        stored = selected(params, self.ntotal)
        codes, first, found = self._store.joined(), 0, []
        step = max(1, _DECODED // self.d)
        for first in range(0, self.ntotal, step):
            part = None if stored is None else stored[(stored >= first) & (stored < first + step)] - first
            lims, D, I = _chunks.within(
                (self._sa_decode(codes[first : first + step]),), x, radius, (METRIC_L2, 0.0), stream, part
            )
            found.append((lims, D, I + first))
        return concatenated(found, x.shape[0])

    def _remove_ids(self, selector: Any) -> int:
        return self._store.keep_without(selector._native.positions(self.ntotal))

    def _check_compatible(self, op: str, other: IndexLSH) -> None:
        for name in ("nbits", "rotate_data", "train_thresholds"):
            self._require_same(op, name, getattr(self, name), getattr(other, name))
        self._require_same(op, "thresholds", self._thresholds.tolist(), other._thresholds.tolist())

    def _merge_from(self, other: IndexLSH, add_id: int) -> None:
        self._store.append(other._store.joined())
        other._reset()

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return self._sa_decode(self._store.joined()[n0 : n0 + ni])

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        there = mx.logical_and(ids >= 0, ids < self.ntotal)
        return mx.where(there[:, None], self._sa_decode(self._store.take(ids)), mx.array(float("nan")))

    def __repr__(self) -> str:
        return (
            f"IndexLSH(d={self.d}, nbits={self.nbits}, rotate_data={self.rotate_data}, "
            f"train_thresholds={self.train_thresholds}, ntotal={self.ntotal})"
        )
