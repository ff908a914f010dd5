"""clang's syntax tree with a line for every node, and what the rules ask of types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Node", "Tree", "desugared", "is_vector", "sizes_of", "spelled"]

_VECTOR = re.compile(r"ext_vector_type|\b(?:u?char|u?short|u?int|u?long|half|float|bfloat)[234]\b")
_SPACES = re.compile(r"\b(?:__private|__global|__local|__constant|__generic|const|volatile)\b")
_SCALARS = {
    **dict.fromkeys(["bool", "char", "uchar", "int8_t", "uint8_t"], 1),
    **dict.fromkeys(["short", "ushort", "int16_t", "uint16_t", "half", "bfloat"], 2),
    **dict.fromkeys(["int", "uint", "int32_t", "uint32_t", "float", "metal_atomic_int", "metal_atomic_uint"], 4),
    **dict.fromkeys(["long", "ulong", "int64_t", "uint64_t", "size_t", "ptrdiff_t"], 8),
    "signed char": 1,
    "unsigned char": 1,
    "unsigned short": 2,
    "unsigned int": 4,
    "unsigned long": 8,
    "__bf16": 2,
}


@dataclass(eq=False)
class Node:
    data: dict[str, Any]
    line: int
    parent: Node | None
    children: list[Node] = field(default_factory=list)

    kind: str = ""

    @property
    def name(self) -> str:
        return str(self.data.get("name", ""))

    @property
    def opcode(self) -> str:
        return str(self.data.get("opcode", ""))

    def text(self, source: str, last: bool = False) -> str:
        """What the source says of it, or its last token."""
        bounds = self.data.get("range", {})
        begin, end = (bounds.get(key, {}) for key in ("begin", "end"))
        if last:
            begin = end = end.get("spellingLoc", end)
        begin, end = begin.get("expansionLoc", begin), end.get("expansionLoc", end)
        return source[begin["offset"] : end["offset"] + end["tokLen"]] if "offset" in begin and "offset" in end else ""

    def walk(self) -> Iterator[Node]:
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack += reversed(node.children)

    def ancestors(self) -> Iterator[Node]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


class Tree:
    """The declarations of a source. Clang names a file and a line only where they differ from the last it printed."""

    def __init__(self, declarations: list[dict[str, Any]]) -> None:
        self._file, self._line = "<stdin>", 1
        self.root = Node({}, 0, None)
        self._nodes: list[Node] = []  # in the order of the source
        self.root.children = [self._node(d, self.root) for d in declarations]

    def walk(self) -> Iterator[Node]:
        return iter(self._nodes)

    def _node(self, data: dict[str, Any], parent: Node) -> Node:
        at = self._location(data.get("loc", {}))
        bounds = data.get("range", {})
        begin = self._location(bounds.get("begin", {}))
        self._location(bounds.get("end", {}))
        node = Node(data, at or begin or parent.line, parent, kind=data.get("kind", ""))
        self._nodes.append(node)
        node.children = [self._node(child, node) for child in data.get("inner", ())]
        return node

    def _location(self, location: dict[str, Any]) -> int:
        """The line of a location in the source: 0 where there is none."""
        line = 0
        for part in (location.get("spellingLoc"), location.get("expansionLoc")):
            line = self._location(part) or line if part else line
        if "offset" in location:
            self._file = location.get("file", self._file)
            self._line = location.get("line", self._line)
            line = self._line if self._file == "<stdin>" else 0
        return line


def spelled(node: Node) -> str:
    """The type of a node as it was written."""
    return str(node.data.get("type", {}).get("qualType", ""))


def desugared(node: Node) -> str:
    type_ = node.data.get("type", {})
    return str(type_.get("desugaredQualType", type_.get("qualType", "")))


def is_vector(node: Node) -> bool:
    return bool(_VECTOR.search(desugared(node)) or _VECTOR.search(spelled(node))) and "*" not in spelled(node)


def plain(type_: str) -> str:
    """A type without address spaces and qualifiers."""
    return " ".join(_SPACES.sub("", type_).split())


def sizes_of(type_: str, structs: dict[str, int]) -> int | None:
    """Bytes of a type as clang prints it, such as ``__local float[32][33]``; None where it cannot be told."""
    type_ = plain(type_)
    if "*" in type_ or "&" in type_:
        return 8 if "[" not in type_ else None
    count = 1
    for extent in re.findall(r"\[(\d+)\]", type_):
        count *= int(extent)
    base = re.sub(r"\[\d+\]", "", type_).replace("struct ", "").strip()
    base = base.rsplit("::", 1)[-1]
    if base in structs:
        return count * structs[base]
    if base in _SCALARS:
        return count * _SCALARS[base]
    if (vector := re.fullmatch(r"(\w+?)([234])", base)) and vector[1] in _SCALARS:
        return count * _SCALARS[vector[1]] * (4 if vector[2] == "3" else int(vector[2]))
    return None
