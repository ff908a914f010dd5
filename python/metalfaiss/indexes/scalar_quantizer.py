"""Exact search of codes of the scalar quantizer."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.flat_codes import IndexFlatCodes
from metalfaiss.inverted_lists import ArrayInvertedLists
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.scalar_quantizer import ScalarQuantizer
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selectors import IDSelector

__all__ = ["IndexScalarQuantizer"]


class IndexScalarQuantizer(IndexFlatCodes):
    """Codes of a scalar quantizer, all of them searched: 4, 2 or 8 times smaller than ``IndexFlat``.

    Distances are those of the decoded vectors, which exist a few at a time. The ids are those of a float64 computation
    on them.

    Args:
        d: the dimension of the vectors.
        qtype: a type of ``ScalarQuantizer``.
        metric: ``METRIC_L2`` or ``METRIC_INNER_PRODUCT``.

    Attributes:
        sq: the quantizer.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: ``d`` is less than 1, or there is no such metric.
        NotImplementedError: there is no such type yet.
    """

    def __init__(self, d: int, qtype: int = ScalarQuantizer.QT_8bit, metric: int = METRIC_L2) -> None:
        super().__init__(d, metric)
        if metric not in (METRIC_L2, METRIC_INNER_PRODUCT):
            raise ArgumentError(
                f"[{type(self).__name__}] metric must be METRIC_L2 or METRIC_INNER_PRODUCT. Received {metric!r}."
            )
        self.sq = ScalarQuantizer(d, qtype)
        self.is_trained = self.sq.is_trained
        self._reset()

    @property
    def ntotal(self) -> int:
        return self._lists.list_size(0)

    @property
    def code_size(self) -> int:
        """The bytes of a stored vector."""
        return self.sq.code_size

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes, shape (ntotal, code_size): a read-only view."""
        return self._lists.get_codes(0)

    # One inverted list holds the codes: it grows in place, and scans know lists.

    def _reset(self) -> None:
        self._lists = ArrayInvertedLists(1, self.sq.code_size)
        self._array: mx.array | None = None

    def _train(self, x: mx.array) -> None:
        self.sq.train(x)
        self.is_trained = self.sq.is_trained

    def _add(self, x: mx.array) -> None:
        self._add_codes(_host.to_numpy(_core.encode(x, self._codec()))[0])

    def _add_codes(self, codes: NDArray[np.uint8]) -> None:
        first = self.ntotal
        self._lists.add_entries(0, np.arange(first, first + len(codes)), codes)
        self._array = None

    def _add_sa_codes(self, codes: NDArray[np.uint8], ids: NDArray[np.int64] | None) -> None:
        self._refuse_ids(ids)
        self._add_codes(codes)

    def _permute(self, order: NDArray[np.int64]) -> None:
        codes = self.codes[order]
        self._reset()
        self._add_codes(codes)

    def _borrow(self, held: _core.FileBytes, offset: int, n: int) -> None:
        """Takes n codes where they lie in a file."""
        ids = _core.FileBytes.copy(np.arange(n, dtype=np.int64).view(np.uint8))
        _core.borrow_list(self._lists._native, 0, n, held, offset, ids, 0)
        self._array = held.mlx(offset, [n, self.code_size], "|u1", True)

    def _codec(self) -> _core.Codec:
        return self.sq._require_codec(type(self).__name__)

    def _codes(self) -> mx.array:
        """The codes as MLX has them, made once after a change."""
        array = self._array
        if array is None or array.shape[0] != self.ntotal:
            array = mx.array(self.codes)
            self._array = array
        return array

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        if params is None or params.sel is None:
            return _core.knn_codes(x, self._codes(), self._codec(), k, self.metric_type, stream=stream)
        probes = mx.zeros((x.shape[0], 1), dtype=mx.int64, stream=stream)
        return _core.ivf_search(
            x,
            probes,
            None,
            self._lists._native,
            self._codec(),
            k,
            self.metric_type,
            selector=params.sel._native,
            stream=stream,
        )

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        (queries,) = _host.to_numpy(x)
        probes = np.zeros((len(queries), 1), dtype=np.int64)
        sel = None if params is None or params.sel is None else params.sel._native
        return _core.ivf_range_search(
            queries, probes, None, self._lists._native, self._codec(), radius, self.metric_type, selector=sel
        )

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return _core.decode(mx.array(self.codes[n0 : n0 + ni]), self._codec())

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        n = self.ntotal
        if n == 0:
            return mx.full((ids.shape[0], self.d), float("nan"))
        stored = mx.logical_and(ids >= 0, ids < n)
        rows = mx.take(self._codes(), mx.where(stored, ids, 0), axis=0)
        return mx.where(stored[:, None], _core.decode(rows, self._codec()), float("nan"))

    def _remove_ids(self, selector: IDSelector) -> int:
        gone = selector._native.members(np.arange(self.ntotal, dtype=np.int64)).view(np.bool_)
        kept = self.codes[~gone]
        self._reset()
        self._add_codes(kept)
        return int(gone.sum())

    def _check_compatible(self, op: str, other: Any) -> None:
        self._require_same(op, "qtype", self.sq.qtype, other.sq.qtype)
        self._require_same(op, "training", self.sq.trained.tolist(), other.sq.trained.tolist())

    def _merge_from(self, other: Any, add_id: int) -> None:
        self._add_codes(other.codes)
        other._reset()

    def _sa_code_size(self) -> int:
        return self.sq.code_size

    def _sa_encode(self, x: mx.array) -> mx.array:
        return _core.encode(x, self._codec())

    def _sa_decode(self, codes: mx.array) -> mx.array:
        return _core.decode(codes, self._codec())

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_array": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(d={self.d}, {self.sq!r}, ntotal={self.ntotal})"
