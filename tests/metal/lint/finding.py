"""What the lint reports, and where in the project's files it is."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Finding", "Source"]


@dataclass(frozen=True, order=True)
class Finding:
    """One thing wrong: ``metal/gemm.metal:12: what is wrong: what MSL requires [rule]``."""

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Source:
    """A source text, and the file and line that each of its lines comes from."""

    text: str
    name: str = "<source>"
    origin: tuple[tuple[str, int], ...] = field(default=(), repr=False)

    def finding(self, line: int, rule: str, message: str) -> Finding:
        if 0 < line <= len(self.origin):
            return Finding(*self.origin[line - 1], rule, message)
        return Finding(self.name, line, rule, message)
