"""What a kernel file declares: its kernels, their parameters and the attribute of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Kernel", "Parameter", "kernels", "without_comments"]

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(r"\bkernel\s+void\s+(\w+)\s*\(")
_ATTRIBUTE = re.compile(r"\[\[\s*(\w+)\s*(?:\(\s*(\w+)\s*\))?\s*\]\]")
_DECLARATION = re.compile(r"^(?P<type>.*?)(?P<name>\w+)$", re.DOTALL)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: ``device const T* x [[buffer(0)]]``."""

    type: str  # "device const T*", with single spaces
    name: str
    attribute: str  # "buffer", "threadgroup", "thread_position_in_grid", ...; "" where there is none
    index: int | None  # of buffer(i) and threadgroup(i)

    @property
    def is_buffer(self) -> bool:
        return self.attribute == "buffer"

    @property
    def is_constant(self) -> bool:
        """Whether it is ``constant Params&``: bytes rather than memory."""
        return self.is_buffer and self.type.startswith("constant ") and self.type.endswith("&")

    @property
    def is_read_only(self) -> bool:
        return "const " in f"{self.type} " or self.type.startswith("constant ")


@dataclass(frozen=True)
class Kernel:
    name: str
    parameters: tuple[Parameter, ...]
    line: int


def without_comments(source: str) -> str:
    """The source with comments replaced by spaces: offsets and lines stay."""
    return _COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), source)


def kernels(source: str) -> list[Kernel]:
    """The kernels of a source, in order. Names and types are as written: macros are not expanded."""
    text = without_comments(source)
    found = []
    for match in _KERNEL.finditer(text):
        begin, end = match.end(), _closing(text, match.end())
        parameters = tuple(_parameter(p) for p in _split(text[begin:end]))
        found.append(Kernel(match.group(1), parameters, text.count("\n", 0, match.start()) + 1))
    return found


def _closing(text: str, begin: int) -> int:
    depth = 1
    for i in range(begin, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    raise ValueError("a parameter list does not end")


def _split(parameters: str) -> list[str]:
    parts, depth = [""], 0
    for c in parameters:
        depth += (c in "([{<") - (c in ")]}>")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p for p in parts if p.strip()]


def _parameter(text: str) -> Parameter:
    attribute = _ATTRIBUTE.search(text)
    declaration = _DECLARATION.match(" ".join(_ATTRIBUTE.sub("", text).split()))
    if declaration is None:
        raise ValueError(f"not a parameter: {text.strip()}")
    kind, index = (attribute.group(1), attribute.group(2)) if attribute else ("", None)
    return Parameter(
        declaration["type"].strip(), declaration["name"], kind, int(index) if index and index.isdigit() else None
    )
