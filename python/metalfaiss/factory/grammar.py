"""Descriptions of indexes to syntax trees, in the order of FAISS's tries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from metalfaiss.factory.rules import BINARY, Part, match

__all__ = ["Inverted", "Leaf", "Node", "Refined", "Transformed", "Wrapped", "parse", "parse_binary", "parts"]


@dataclass(frozen=True)
class Leaf:
    """An index that is one part; a graph has a code."""

    part: Part
    code: Part | None = None


@dataclass(frozen=True)
class Wrapped:
    """An index around another one: ids, or scaling of rows."""

    part: Part
    base: Node


@dataclass(frozen=True)
class Refined:
    """An index whose results another one, by default a flat one, ranks again."""

    part: Part
    base: Node
    refine: Node | None


@dataclass(frozen=True)
class Transformed:
    """Transforms, the first one first, in front of an index."""

    transforms: tuple[Part, ...]
    base: Node


@dataclass(frozen=True)
class Inverted:
    """Inverted lists, or two layers of codes: how lists are chosen, by which index if a part says so, and codes."""

    coarse: Part
    quantizer: Node | None
    code: Part


Node: TypeAlias = Leaf | Wrapped | Refined | Transformed | Inverted


def parse(description: str) -> Node:
    """The syntax tree of a description for ``index_factory``.

    Raises:
        RuntimeError: it is none.
    """
    return _wrapped(description) or _refined(description) or _transformed(description) or _plain(description)


def parse_binary(description: str) -> Node:
    """The syntax tree of a description for ``index_binary_factory``.

    Raises:
        RuntimeError: it is none.
    """
    for name in ("IDMap2", "IDMap"):
        if inner := _around(name, description):
            part = match(BINARY, name)
            assert part is not None
            return Wrapped(part, parse_binary(inner))
    part = match(BINARY, description)
    if part is None or part.text.startswith("IDMap"):
        raise RuntimeError(
            f"[index_binary_factory] description must be one of a binary index. Received {description!r}."
        )
    return Leaf(part)


def parts(node: Node) -> Iterator[Part]:
    """The parts of a tree."""
    if isinstance(node, Leaf):
        yield node.part
        if node.code is not None:
            yield node.code
    elif isinstance(node, Wrapped):
        yield node.part
        yield from parts(node.base)
    elif isinstance(node, Refined):
        yield node.part
        yield from parts(node.base)
        if node.refine is not None:
            yield from parts(node.refine)
    elif isinstance(node, Transformed):
        yield from node.transforms
        yield from parts(node.base)
    else:
        yield node.coarse
        if node.quantizer is not None:
            yield from parts(node.quantizer)
        yield node.code


def _around(name: str, description: str) -> str | None:
    """X of ``X,name`` or ``name,X``."""
    found = re.fullmatch(rf"(.+),{name}", description) or re.fullmatch(rf"{name},(.+)", description)
    return found.group(1) if found else None


def _wrapped(description: str) -> Node | None:
    for name in ("IDMap2", "IDMap"):
        if inner := _around(name, description):
            part = match("wrapper", name)
            assert part is not None
            return Wrapped(part, parse(inner))
    return None


def _refined(description: str) -> Node | None:
    for tail in (r"RefinePanorama\((?P<by>.+)\)", r"RFlat", r"Refine\((?P<by>.+)\)"):
        found = re.fullmatch(rf"(?P<base>.+),(?P<tail>{tail})", description)
        if found and (part := match("refine", found.group("tail"))):
            by = found.groupdict().get("by")
            return Refined(part, parse(found.group("base")), None if by is None else parse(by))
    return None


def _transformed(description: str) -> Node | None:
    found: list[Part] = []
    while "," in description:
        first, rest = description.split(",", 1)
        part = match("transform", first)
        if part is None:
            break
        found.append(part)
        description = rest
    return Transformed(tuple(found), parse(description)) if found else None


def _plain(description: str) -> Node:
    text, inner = _without_parentheses(description)
    if (part := match("basic", text)) is not None:
        return Leaf(part)
    if (graph := match("graph", text)) is not None:
        kind = "HNSW code" if text.startswith("HNSW") else "NSG code"
        return Leaf(graph, _code(kind, graph.values["code"] or "", description))
    first, _, rest = text.partition(",")
    if rest and (row := match("row", first)):
        return Wrapped(row, parse(description.partition(",")[2]))
    if rest and (layers := match("two-layer", first)):
        return Inverted(layers, None, _code("two-layer code", rest, description))
    if rest and (coarse := match("coarse", first)):
        number = coarse.values.get("index")
        return Inverted(coarse, None if number is None else inner[int(number)], _code("IVF code", rest, description))
    raise RuntimeError(f"[index_factory] could not parse index string {description!r}.")


def _code(group: str, text: str, description: str) -> Part:
    part = match(group, text)
    if part is None:
        raise RuntimeError(f"[index_factory] could not parse code description {text!r} in {description!r}.")
    return part


def _without_parentheses(description: str) -> tuple[str, list[Node]]:
    """The description with ``(Index0)``, ``(Index1)``, ... in place of what stands in parentheses."""
    inner: list[Node] = []
    text, begin, depth = "", 0, 0
    for i, c in enumerate(description):
        depth += (c == "(") - (c == ")")
        if depth < 0:
            break
        if c == "(" and depth == 1:
            text += description[begin : i + 1]
            begin = i + 1
        elif c == ")" and depth == 0:
            text += f"Index{len(inner)}"
            inner.append(parse(description[begin:i]))
            begin = i
    if depth != 0:
        raise RuntimeError(f"[index_factory] Parentheses must be balanced. Received {description!r}.")
    return text + description[begin:], inner
