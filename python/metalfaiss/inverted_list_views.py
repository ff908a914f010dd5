"""Inverted lists that show those of others: FAISS's stacks, slices and masks. An index searches them as any others.

A view shows its parts as they are at the time of each search. Nothing is copied, but the lists of a horizontal stack
that more than one part has entries of: those once, and again when a part changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metalfaiss import _core, _host
from metalfaiss.errors import ArgumentError
from metalfaiss.inverted_lists import ArrayInvertedLists, InvertedLists

__all__ = [
    "CappedInvertedLists",
    "HStackInvertedLists",
    "InvertedListsPtrVector",
    "MaskedInvertedLists",
    "ReadOnlyInvertedLists",
    "SliceInvertedLists",
    "StopWordsInvertedLists",
    "VStackInvertedLists",
]

_Kind = _core.ListsView.Kind


class InvertedListsPtrVector(list[InvertedLists]):
    """Lists for a stack, or for ``OnDiskInvertedLists.merge_from_multiple``, as FAISS's programs gather them."""

    def push_back(self, il: InvertedLists) -> None:
        """Adds lists."""
        self.append(il)

    def size(self) -> int:
        """How many there are."""
        return len(self)

    def at(self, i: int) -> InvertedLists:
        """Lists i of those."""
        return self[i]

    def data(self) -> InvertedListsPtrVector:
        """Itself, in place of FAISS's pointer."""
        return self


class _View(InvertedLists):
    """Lists made of those of parts. A copy, and what is pickled or written to a file, are plain lists."""

    def __init__(self, view: _core.ListsView, parts: Sequence[InvertedLists]) -> None:
        self._view, self._parts = view, tuple(parts)

    @property
    def _native(self) -> _core.InvertedLists:  # type: ignore[override]
        return self._view.of([part._native for part in self._parts])

    def __copy__(self) -> InvertedLists:
        other = ArrayInvertedLists.__new__(ArrayInvertedLists)
        other._native = self._native.copy()
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain, (self.__getstate__(),)


def _plain(state: dict[str, Any]) -> ArrayInvertedLists:
    lists = ArrayInvertedLists.__new__(ArrayInvertedLists)
    lists.__setstate__(state)
    return lists


class ReadOnlyInvertedLists(_View):
    """Base class of the views that cannot be changed: what would change them raises ``RuntimeError``."""

    def _changed(self, method: str) -> _core.InvertedLists:
        raise RuntimeError(
            f"[{self._op(method)}] The lists must be ones that can be changed: change what they show. "
            "Received a view that is read-only."
        )


def _parts(op: str, n_il: int, ils: Sequence[InvertedLists]) -> list[InvertedLists]:
    """The first ``n_il`` of these lists, which have one code size."""
    count = _host.integer(op, "n_il", n_il, 1, len(ils))
    parts = [_one(op, il) for il in list(ils)[:count]]
    sizes = {il.code_size for il in parts}
    if len(sizes) > 1:
        raise ArgumentError(f"[{op}] ils must have one code_size. Received {sorted(sizes)}.")
    return parts


def _one(op: str, il: object) -> InvertedLists:
    if not isinstance(il, InvertedLists):
        raise TypeError(f"[{op}] Lists must be InvertedLists. Received {type(il).__name__}.")
    return il


class HStackInvertedLists(ReadOnlyInvertedLists):
    """Each list is those of several, one behind the other.

    Args:
        n_il: how many of ``ils``.
        ils: lists of one ``nlist`` and ``code_size``: a sequence, or ``data()`` of an ``InvertedListsPtrVector``.

    Raises:
        TypeError: they are not lists.
        ValueError: ``n_il`` is not from 1 to their number, or their forms differ.
    """

    def __init__(self, n_il: int, ils: Sequence[InvertedLists]) -> None:
        op = type(self).__name__
        parts = _parts(op, n_il, ils)
        numbers = {il.nlist for il in parts}
        if len(numbers) > 1:
            raise ArgumentError(f"[{op}] ils must have one nlist. Received {sorted(numbers)}.")
        super().__init__(_core.ListsView(_Kind.hstack), parts)

    @property
    def ils(self) -> list[InvertedLists]:
        """What is stacked."""
        return list(self._parts)


class VStackInvertedLists(ReadOnlyInvertedLists):
    """The lists of several, all of them: first those of the first, then those of the second, ...

    Args:
        n_il: how many of ``ils``.
        ils: lists of one ``code_size``: a sequence, or ``data()`` of an ``InvertedListsPtrVector``.

    Raises:
        TypeError: they are not lists.
        ValueError: ``n_il`` is not from 1 to their number, or their code sizes differ.
    """

    def __init__(self, n_il: int, ils: Sequence[InvertedLists]) -> None:
        super().__init__(_core.ListsView(_Kind.vstack), _parts(type(self).__name__, n_il, ils))

    @property
    def ils(self) -> list[InvertedLists]:
        """What is stacked."""
        return list(self._parts)


class SliceInvertedLists(ReadOnlyInvertedLists):
    """Lists ``i0`` to ``i1 - 1`` of others.

    Raises:
        TypeError: ``il`` is no lists, or a number is not an integer.
        ValueError: there are no such lists.
    """

    def __init__(self, il: InvertedLists, i0: int, i1: int) -> None:
        op = type(self).__name__
        self.i1 = _host.integer(op, "i1", i1, 0, _one(op, il).nlist)
        self.i0 = _host.integer(op, "i0", i0, 0, self.i1)
        super().__init__(_core.ListsView(_Kind.slice, self.i0, self.i1), [il])

    @property
    def il(self) -> InvertedLists:
        """What it is a slice of."""
        return self._parts[0]


class MaskedInvertedLists(ReadOnlyInvertedLists):
    """The lists of ``il0``, and those of ``il1`` where they are empty: to replace a few lists.

    Raises:
        TypeError: one of them is no lists.
        ValueError: they have different forms.
    """

    def __init__(self, il0: InvertedLists, il1: InvertedLists) -> None:
        op = type(self).__name__
        _one(op, il0)._require_same_form(op, _one(op, il1))
        super().__init__(_core.ListsView(_Kind.masked), [il0, il1])

    @property
    def il0(self) -> InvertedLists:
        """What is shown where it is not empty."""
        return self._parts[0]

    @property
    def il1(self) -> InvertedLists:
        """What is shown elsewhere."""
        return self._parts[1]


class StopWordsInvertedLists(ReadOnlyInvertedLists):
    """The lists of ``il0`` with fewer than ``maxsize`` entries; the others are empty.

    Raises:
        TypeError: ``il0`` is no lists, or ``maxsize`` not an integer.
        ValueError: ``maxsize`` is negative.
    """

    def __init__(self, il0: InvertedLists, maxsize: int) -> None:
        op = type(self).__name__
        self.maxsize = _host.integer(op, "maxsize", maxsize, 0, 2**62)
        super().__init__(_core.ListsView(_Kind.stop_words, 0, self.maxsize), [_one(op, il0)])

    @property
    def il0(self) -> InvertedLists:
        """What is shown in part."""
        return self._parts[0]


class CappedInvertedLists(_View):
    """The first ``maxsize`` entries of each list of others, which it passes changes on to.

    Raises:
        TypeError: ``il`` is no lists, or ``maxsize`` not an integer.
        ValueError: ``maxsize`` is negative.
    """

    def __init__(self, il: InvertedLists, maxsize: int) -> None:
        op = type(self).__name__
        self.maxsize = _host.integer(op, "maxsize", maxsize, 0, 2**62)
        super().__init__(_core.ListsView(_Kind.capped, 0, self.maxsize), [_one(op, il)])

    @property
    def il0(self) -> InvertedLists:
        """What is shown in part."""
        return self._parts[0]

    def real_list_size(self, list_no: int) -> int:
        """How many entries a list has, those that are not shown included."""
        return self.il0.list_size(list_no)

    def _changed(self, method: str) -> _core.InvertedLists:
        return self.il0._changed(method)
