"""What runs the steps of plans in the place of a GPU's executor, and keeps what is wrong with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Runner", "Traffic"]


@dataclass(frozen=True)
class Traffic:
    """The device bytes of a step, by memory, where they are counted."""

    name: str  # of the launch; "product"
    kernel: str
    bytes: dict[str, Any]


@dataclass
class Runner(ABC):
    """What ``metalfaiss._core.simulate`` calls with the steps of every operation.

    multiplies: whether it stands for a GPU with tensor cores and fast float64, and makes products of its own.
    """

    findings: list[str] = field(default_factory=list, kw_only=True)
    traffic: list[Traffic] = field(default_factory=list, kw_only=True)
    multiplies: bool = field(default=False, kw_only=True)

    @abstractmethod
    def __call__(self, steps: list[dict[str, Any]]) -> None:
        """Runs the steps of a plan. Raises nothing: see `check`."""

    @contextmanager
    def active(self, core: Any) -> Iterator[None]:
        """Runs every operation here, given the extension module."""
        core.simulate(self, multiplies=self.multiplies)
        try:
            yield
        finally:
            core.simulate(None)

    def report(self) -> str:
        """Every finding so far, once each."""
        return f"The {type(self).__name__} found:\n" + "\n".join(f"- {f}" for f in dict.fromkeys(self.findings))

    def check(self) -> None:
        """Raises AssertionError with every finding since the last call."""
        text, is_wrong = self.report(), bool(self.findings)
        self.findings = []
        if is_wrong:
            raise AssertionError(text)
