"""What indexes around another index share."""

from __future__ import annotations

from typing import Any

__all__ = ["inner_trained"]


def inner_trained(name: str) -> Any:
    """``is_trained`` of the index in attribute ``name``, to be read and set."""

    def read(self: Any) -> bool:
        return bool(getattr(self, name).is_trained)

    def write(self: Any, trained: bool) -> None:
        if name in self.__dict__:  # not yet while the base class is constructed
            getattr(self, name).is_trained = trained

    return property(read, write, doc="Whether vectors may be added.")
