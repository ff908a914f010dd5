"""What an index keeps, what its types implement, and what they share: the part of ``Index`` that is not public."""

from __future__ import annotations

from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes._common import Common
from metalfaiss.indexes._rescore import distances_to
from metalfaiss.metrics import METRIC_L2
from metalfaiss.search_parameters import SearchParameters, bound

__all__ = ["State"]


class State(Common):
    """The base of ``Index``."""

    _unsaved: ClassVar[tuple[str, ...]] = ("_lock", "_traced")

    def __init__(self, d: int, metric: int = METRIC_L2) -> None:
        super().__init__(_host.integer(type(self).__name__, "d", d, 1))
        self._metric_type = metric
        self.metric_arg = 0.0

    def _init_unsaved(self) -> None:
        super()._init_unsaved()
        self._traced = _core.in_tracing()

    @property
    def _width(self) -> int:
        """The elements of a vector, as an array has them."""
        return self.d

    @property
    def metric_type(self) -> int:
        """What vectors are compared by: ``METRIC_L2``, ``METRIC_INNER_PRODUCT``, ..."""
        return self._metric_type

    # ----------------------------------------------------- what a subclass has, or has from Unsupported
    #
    # Arguments are checked, arrays are MLX's, and nothing here evaluates. Callers hold the lock for changes.

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        """Whether ids are stored; here, for an index that numbers its vectors."""
        _checks.in_range(op, keys, self.ntotal, "vectors")

    def _reconstruct(self, key: int) -> mx.array:
        return self._reconstruct_n(key, 1)[0]

    def _search_and_reconstruct(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array, mx.array]:
        D, I = self._search(x, k, params, stream)
        return D, I, self._reconstruct_batch(I.reshape(-1)).reshape(*I.shape, self.d)

    def _distances_at(self, x: mx.array, ids: mx.array, stream: Stream) -> mx.array:
        """Distances (n, m) of queries (n, d) to the stored vectors of lazy ids (n, m), NaN where there is none."""
        stored = self._reconstruct_batch(ids.reshape(-1)).reshape(*ids.shape, self.d)
        return distances_to(x, stored, self.metric_type, self.metric_arg, stream)

    # --------------------------------------------------------------------------- helpers of subclasses

    def _find(
        self, op: str, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        """A search with parameters to be checked: what an index calls of those that it is made of."""
        return self._search(x, k, self._parameters(op, params), stream)

    def _find_within(
        self, op: str, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        return self._range_search(x, radius, self._parameters(op, params), stream)

    def _parameters(self, op: str, params: SearchParameters | None) -> SearchParameters | None:
        """The parameters, checked, with a native selector."""
        self._require_trained(op)
        return bound(_checks.parameters(op, params, self._accepted_parameters()), self._ids)

    def _renumbers(self) -> bool:
        """Whether ids are positions, so that those behind a removed vector move up."""
        return not hasattr(self, "invlists")

    def _accepted_parameters(self) -> _checks.Accepted:
        return self._parameters_type

    def _refuse_ids(self, ids: object) -> None:
        """For an index that numbers its vectors."""
        if ids is not None:
            self._unsupported("add_with_ids", ", such as IndexIDMap around this one")

    def _new_vectors(self, method: str, x: Array, numeric_type: int) -> mx.array:
        op = self._op(method)
        vectors = _checks.vectors(op, x, self.d, numeric_type)
        if _core.is_traced(vectors) and not self._traced:
            raise ArgumentError(
                f"[{op}] x must not be traced, or the index must be made inside of the transformed function. "
                "Received a traced array for an index made outside."
            )
        self._require_trained(op)
        return _host.own(vectors)

    def _reconstruction(self, vectors: mx.array, x: NDArray[np.float32] | None) -> Array:
        if x is None and self._gave_mlx:
            return vectors
        return _host.output(_host.to_numpy(vectors)[0], x)
