"""What indexes made of several equal ones share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import mlx.core as mx

from metalfaiss.indexes import _checks
from metalfaiss.indexes.base import Index
from metalfaiss.metrics import METRIC_L2

__all__ = ["Group"]

T = TypeVar("T")


class Group(Index):
    """Members in a list, all of one ``d``.

    Attributes:
        threaded: whether members are trained, and searched by distance, at once, each in a thread. The search for
            neighbours needs none: it is one graph of operations, which use all cores.
    """

    def __init__(self, *args: Any, threaded: bool) -> None:
        given = [arg for arg in args if not isinstance(arg, bool)]
        self._members: list[Index] = []
        self._known_d = bool(given)
        super().__init__(given[0] if given else 1, METRIC_L2)
        self.threaded = threaded
        self.own_indices = False

    @property
    def own_fields(self) -> bool:
        """FAISS's name for ``own_indices``."""
        return self.own_indices

    @own_fields.setter
    def own_fields(self, own: bool) -> None:
        self.own_indices = own

    @property
    def is_trained(self) -> bool:
        """Whether vectors may be added."""
        return all(member.is_trained for member in self._members)

    @is_trained.setter
    def is_trained(self, trained: bool) -> None:
        for member in self._members:
            member.is_trained = trained

    def count(self) -> int:
        """How many indexes it is made of."""
        return len(self._members)

    def at(self, i: int) -> Index:
        """Index i of those."""
        return self._members[i]

    def _join(self, op: str, member: Index) -> None:
        _checks.index(op, "index", member)
        if self._members:
            self._require_same(op, "metric_type", self.metric_type, member.metric_type)
        if self._known_d:
            self._require_same(op, "d", self.d, member.d)
        self._d, self._metric_type, self._known_d = member.d, member.metric_type, True
        self.metric_arg = member.metric_arg
        self._members.append(member)

    def _leave(self, op: str, member: Index) -> None:
        for at, known in enumerate(self._members):
            if known is member:
                del self._members[at]
                return
        raise RuntimeError(f"[{op}] The index must be one of the {self.count()} members. Received another one.")

    def _require_members(self, op: str) -> Sequence[Index]:
        if not self._members:
            raise RuntimeError(f"[{op}] There must be at least one index inside. Received none.")
        return tuple(self._members)

    def _each(self, members: Sequence[Any], call: Callable[[Any], T]) -> list[T]:
        """What the calls return; with threads where ``threaded`` says so. They evaluate what they make."""
        if not self.threaded or len(members) < 2:
            return [call(member) for member in members]
        with ThreadPoolExecutor(len(members)) as pool:
            return list(pool.map(call, members))

    def _train(self, x: mx.array) -> None:
        mx.eval(x)
        self._each(self._require_members(self._op("train")), lambda member: member._train(x))

    def _accepted_parameters(self) -> _checks.Accepted:
        return self._members[0]._accepted_parameters() if self._members else self._parameters_type

    def _reset(self) -> None:
        for member in self._members:
            member._reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self._members))}])"
