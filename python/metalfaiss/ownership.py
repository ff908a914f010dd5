"""Who frees an object: what programs written for FAISS say to C++, and Python's garbage collector knows by itself."""

from __future__ import annotations

from typing import Any

__all__ = ["Owned"]


class _Pointer:
    """FAISS's ``this``: whether Python owns the object."""

    def __init__(self, owned: Owned) -> None:
        self._owned = owned

    def own(self) -> bool:
        return self._owned.thisown

    def disown(self) -> None:
        self._owned.thisown = False

    def acquire(self) -> None:
        self._owned.thisown = True


class Owned:
    """Base class of what FAISS's programs disown: ``index.own_fields = True; quantizer.this.disown()``."""

    @property
    def this(self) -> Any:
        """The pointer of FAISS's programs: ``own()``, ``disown()`` and ``acquire()`` change ``thisown``."""
        return _Pointer(self)

    @property
    def thisown(self) -> bool:
        """What the program last said of who owns the object; objects live as long as anything refers to them."""
        return not vars(self).get("_disowned", False)

    @thisown.setter
    def thisown(self, owned: bool) -> None:
        vars(self)["_disowned"] = not owned
