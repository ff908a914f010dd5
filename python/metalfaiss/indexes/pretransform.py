"""Transforms of vectors in front of an index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.distance_computers import DistanceComputer, TransformedDistanceComputer
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes.base import Index
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParameters, SearchParametersPreTransform, with_selector
from metalfaiss.selectors import IDSelector

__all__ = ["IndexPreTransform", "TransformChain"]


class TransformChain(list[Any]):
    """The transforms of an index, with the methods of FAISS's vector of them."""

    def size(self) -> int:
        return len(self)

    def at(self, i: int) -> Any:
        return self[i]


class IndexPreTransform(Index):
    """Vectors pass a chain of transforms before an index stores or searches them.

    Args:
        ltrans: the first transform, or left out.
        index: the index behind the transforms.

    Raises:
        TypeError: ``index`` is no index.
        ValueError: the transform's output is not what the index, or the transform behind it, takes.

    Attributes:
        chain: the transforms, in the order of their use.
        index: the index behind them.
    """

    def __init__(self, *args: Any) -> None:
        op = type(self).__name__
        if len(args) not in (1, 2):
            raise TypeError(
                f"[{op}] A transform and an index must be given, or an index. Received {len(args)} arguments."
            )
        _checks.index(op, "index", args[-1])
        index: Index = args[-1]
        super().__init__(index.d, index.metric_type)
        self.index = index
        self.chain = TransformChain()
        self.own_fields = False
        if len(args) == 2:
            self.prepend_transform(args[0])

    @property
    def is_trained(self) -> bool:
        """Whether vectors may be added."""
        if "index" not in self.__dict__:
            return True
        return self.index.is_trained and all(transform.is_trained for transform in self.chain)

    @is_trained.setter
    def is_trained(self, trained: bool) -> None:
        if "index" in self.__dict__:
            self.index.is_trained = trained

    @property
    def ntotal(self) -> int:
        return self.index.ntotal

    def prepend_transform(self, ltrans: Any) -> None:
        """Puts a transform in front of the others.

        Args:
            ltrans: a ``VectorTransform``.

        Raises:
            ValueError: its ``d_out`` is not what comes next takes.
        """
        if ltrans.d_out != self.d:
            op = self._op("prepend_transform")
            raise ArgumentError(f"[{op}] The transform must have d_out {self.d}. Received {ltrans.d_out}.")
        self.chain.insert(0, ltrans)
        self._d = int(ltrans.d_in)

    def apply_chain(self, x: Array) -> Any:
        """Vectors as the index behind the transforms gets them.

        Args:
            x: shape (n, d).

        Returns:
            Shape (n, ``index.d``), float32: NumPy for NumPy, lazy for ``mx.array``.

        Raises:
            TypeError, ValueError: as ``search`` does.
        """
        vectors = _checks.vectors(self._op("apply_chain"), x, self.d, Float32).astype(mx.float32)
        return _checks.returned(x, self._forward(vectors), None)

    def reverse_chain(self, xt: Array) -> Any:
        """The way back of ``apply_chain``, as far as the transforms have one.

        Args:
            xt: shape (n, ``index.d``).

        Returns:
            Shape (n, d), float32: NumPy for NumPy, lazy for ``mx.array``.

        Raises:
            TypeError, ValueError: as ``search`` does.
            RuntimeError: a transform cannot be reversed.
        """
        vectors = _checks.vectors(self._op("reverse_chain"), xt, self.index.d, Float32).astype(mx.float32)
        return _checks.returned(xt, self._backward(vectors), None)

    def get_distance_computer(self) -> DistanceComputer:
        """Distances of a query, transformed, to single vectors of the index inside."""
        return TransformedDistanceComputer(self.index.get_distance_computer(), self.d, self.apply_chain)

    def _forward(self, x: mx.array) -> mx.array:
        for transform in self.chain:
            x = transform.apply(x)
        return x

    def _backward(self, x: mx.array) -> mx.array:
        for transform in reversed(self.chain):
            x = transform.reverse_transform(x)
        return x

    def _inner(self, params: SearchParameters | None) -> SearchParameters | None:
        inside = params.index_params if isinstance(params, SearchParametersPreTransform) else params
        return with_selector(inside, None if params is None else params._filter())

    def _accepted_parameters(self) -> _checks.Accepted:
        return (SearchParametersPreTransform, *_checks.types(self.index._accepted_parameters()))

    def _ids(self) -> NDArray[np.int64]:
        return self.index._ids()

    def _train(self, x: mx.array) -> None:
        last = len(self.chain) - 1 if self.index.is_trained else len(self.chain)
        while last >= 0 and last < len(self.chain) and self.chain[last].is_trained:
            last -= 1
        for at, transform in enumerate(self.chain):
            if at > last:
                return
            if not transform.is_trained:
                self._say(f"training {type(transform).__name__} with {x.shape[0]} vectors")
                transform.train(x)
            if at < last:
                x = transform.apply(x)
        if not self.index.is_trained:
            self._say(f"training {type(self.index).__name__} with {x.shape[0]} vectors")
            self.index._train(x.astype(mx.float32))

    def _say(self, what: str) -> None:
        if self.verbose:
            print(f"{type(self).__name__}: {what}")

    def _add(self, x: mx.array) -> None:
        self.index._add(_host.finish(self._forward(x.astype(mx.float32)), x))

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        self.index._add_with_ids(_host.finish(self._forward(x.astype(mx.float32)), x), ids)

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        return self.index._find(self._op("search"), self._forward(x), k, self._inner(params), stream)

    def _search_and_reconstruct(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array, mx.array]:
        inner = self.index._parameters(self._op("search_and_reconstruct"), self._inner(params))
        D, I, R = self.index._search_and_reconstruct(self._forward(x), k, inner, stream)
        return D, I, self._backward(R.reshape(-1, self.index.d)).reshape(*I.shape, self.d)

    def _range_search(
        self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int64]]:
        op = self._op("range_search")
        return self.index._find_within(op, self._forward(x), radius, self._inner(params), stream)

    def _remove_ids(self, selector: IDSelector) -> int:
        return self.index._remove_ids(selector)

    def _renumbers(self) -> bool:
        return self.index._renumbers()

    def _check_compatible(self, op: str, other: IndexPreTransform) -> None:
        self._require_same(op, "number of transforms", len(self.chain), len(other.chain))
        for ours, theirs in zip(self.chain, other.chain, strict=True):
            if hasattr(ours, "check_identical"):
                ours.check_identical(theirs)
        self.index.check_compatible_for_merge(other.index)

    def _merge_from(self, other: IndexPreTransform, add_id: int) -> None:
        self.index._merge_from(other.index, add_id)

    def _reset(self) -> None:
        self.index._reset()

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        self.index._check_keys(op, keys)

    def _reconstruct(self, key: int) -> mx.array:
        return self._backward(self.index._reconstruct(key).reshape(1, -1))[0]

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        return self._backward(self.index._reconstruct_n(n0, ni))

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self._backward(self.index._reconstruct_batch(ids))

    def _sa_code_size(self) -> int:
        return self.index._sa_code_size()

    def _sa_encode(self, x: mx.array) -> Any:
        return self.index._sa_encode(self._forward(x))

    def _sa_decode(self, codes: mx.array) -> mx.array:
        return self._backward(mx.array(self.index._sa_decode(codes)))

    def __repr__(self) -> str:
        chain: Iterable[str] = (f"{type(t).__name__}({t.d_in}, {t.d_out})" for t in self.chain)
        return f"{type(self).__name__}([{', '.join(chain)}], {self.index!r})"
