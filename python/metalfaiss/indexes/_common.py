"""What indexes of vectors and of binary codes share: settings that cannot be misspelt, one change at a time, copies."""

from __future__ import annotations

import threading
from abc import ABCMeta, abstractmethod
from inspect import Signature, signature
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes._unsupported import Unsupported
from metalfaiss.ownership import Owned
from metalfaiss.search_parameters import SearchParameters

__all__ = ["Common"]


class _Sealed(ABCMeta):
    """Instances refuse public attributes that their constructor did not set, and what is no integer where one was, as
    FAISS's do: a mistake in a setting must not pass silently."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        made._sealed = True
        return made

    @property
    def __signature__(cls) -> Signature:
        """The constructor's, for ``help``, which would show that of ``__call__``."""
        _, *parameters = signature(cls.__init__).parameters.values()  # type: ignore[misc]
        return Signature(parameters)


class Common(Unsupported, Owned, metaclass=_Sealed):
    """The base of ``Index`` and ``IndexBinary``."""

    metric_type: Any  # an attribute of the one, a property of the other
    _parameters_type: ClassVar[type[SearchParameters]] = SearchParameters
    _unsaved: ClassVar[tuple[str, ...]] = ("_lock",)

    def __init__(self, d: int) -> None:
        self._d = d
        self._init_unsaved()
        self._gave_mlx = False  # whether what is stored came as mx.array
        self.is_trained = True
        self.verbose = False

    def _init_unsaved(self) -> None:
        self._lock = threading.RLock()  # one change at a time; searches do not take it

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and "_sealed" in self.__dict__:
            if not hasattr(self, name):
                message = f"[{type(self).__name__}] An attribute must be one of the index's. Received {name!r}."
                raise AttributeError(message)
            if isinstance(self.__dict__.get(name), int):
                value = _checks.whole(f"{type(self).__name__}.{name}", name, value, type(self.__dict__[name]))
        super().__setattr__(name, value)

    @property
    def d(self) -> int:
        """The dimension of the vectors; of binary codes, their bits."""
        return self._d

    @property
    @abstractmethod
    def ntotal(self) -> int:
        """How many vectors are stored."""

    # ------------------------------------------------------------------------------------ changing

    def reset(self) -> None:
        """Removes all vectors."""
        with self._lock:
            self._reset()
            self._gave_mlx = False

    def remove_ids(self, x: Any) -> int:
        """Removes vectors. Where an index numbers them, those behind move up.

        Args:
            x: a selector, a predicate, or ids of shape (n,); ids that are not stored are ignored.

        Returns:
            How many were removed.

        Raises:
            TypeError: ``x`` is none of these.
            RuntimeError: the type of index cannot remove vectors.
        """
        selector = _checks.removed(self._op("remove_ids"), x)
        with self._lock:
            return self._remove_ids(selector._bound(self._ids))

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:
        """Moves the vectors of another index behind those of this one; the other one is empty then.

        Args:
            otherIndex: an index of the same type and form.
            add_id: added to its ids, where an index keeps ids.

        Raises:
            TypeError: ``add_id`` is not an integer.
            ValueError: ``otherIndex`` is this index.
            RuntimeError: the indexes are not compatible.
        """
        op = self._op("merge_from")
        add_id = _host.require_int(op, "add_id", add_id)
        if otherIndex is self:
            raise ArgumentError(f"[{op}] otherIndex must be another index. Received the index itself.")
        self.check_compatible_for_merge(otherIndex)
        first, second = sorted((self, otherIndex), key=id)  # one order for all threads
        with first._lock, second._lock:
            self._merge_from(otherIndex, add_id)
            self._gave_mlx |= otherIndex._gave_mlx

    def check_compatible_for_merge(self, otherIndex: Any) -> None:
        """Whether ``merge_from`` would take the index.

        Raises:
            RuntimeError: it would not.
        """
        op = self._op("check_compatible_for_merge")
        self._require_same(op, "type", type(self).__name__, type(otherIndex).__name__)
        self._require_same(op, "d", self.d, otherIndex.d)
        self._require_same(op, "metric_type", self.metric_type, otherIndex.metric_type)
        self._check_compatible(op, otherIndex)

    # ----------------------------------------------------- what a subclass has, or has from Unsupported
    #
    # Arguments are checked, arrays are MLX's, and nothing here evaluates. Callers hold the lock for changes.

    def _train(self, x: mx.array) -> None:
        """Learns from ``x`` and sets ``is_trained``; here, an index that needs no training."""

    @abstractmethod
    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        """Lazy results; ``params.sel`` is native."""

    @abstractmethod
    def _reset(self) -> None: ...

    def _ids(self) -> NDArray[np.int64]:
        """All stored ids, in any order: what Python predicates are asked about."""
        return np.arange(self.ntotal, dtype=np.int64)

    def _check_compatible(self, op: str, other: Any) -> None:
        """What else must be equal for a merge: by ``_require_same``."""

    # --------------------------------------------------------------------------- helpers of subclasses

    def _require_trained(self, op: str) -> None:
        if not self.is_trained:
            raise RuntimeError(f"[{op}] The index must be trained. Received an index that is not.")

    def _require_same(self, op: str, name: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            raise RuntimeError(f"[{op}] The indexes must have the same {name}. Received {ours} and {theirs}.")

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    # ------------------------------------------------------------------------------------ copying

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._unsaved}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_unsaved()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(d={self.d}, ntotal={self.ntotal})"
