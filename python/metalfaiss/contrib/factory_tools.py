"""What a description of an index says about it."""

from __future__ import annotations

from metalfaiss.factory import reverse_index_factory
from metalfaiss.factory.grammar import Inverted, Leaf, Node, Refined, Transformed, Wrapped, parse
from metalfaiss.factory.rules import Part

__all__ = ["get_code_size", "reverse_index_factory"]

SQ_BITS = {"SQ8": 8, "SQ6": 6, "SQ4": 4, "SQfp16": 16, "SQbf16": 16, "SQ8_direct": 8, "SQ8_direct_signed": 8}


def get_code_size(d: int, indexkey: str) -> int:
    """The bytes that an index keeps of a vector of d dimensions, without ids and, roughly, with the links of a graph.

    Args:
        d: the dimension.
        indexkey: a description for ``index_factory``; its types need not be built.

    Raises:
        RuntimeError: it is no description.
        NotImplementedError: the size of such codes is not known.
    """
    return _size(parse(indexkey), d)


def _size(node: Node, d: int) -> int:
    if isinstance(node, Wrapped):
        return _size(node.base, d)
    if isinstance(node, Refined):
        return _size(node.base, d) + (4 * d if node.refine is None else _size(node.refine, d))
    if isinstance(node, Transformed):
        for part in node.transforms:
            d = _output(part, d)
        return _size(node.base, d)
    if isinstance(node, Inverted):
        return _code(node.code, d)
    if isinstance(node, Leaf) and node.code is not None:
        return _code(node.code, d) + 8 * node.part.number("M", 32)
    return _code(node.part, d)


def _output(part: Part, d: int) -> int:
    if part.rule.builds == "HadamardRotation":
        return 1 << (d - 1).bit_length()
    if part.rule.builds == "RemapDimensionsTransform":
        return max(d, part.number("d"))
    return part.number("d", d)


def _code(part: Part, d: int) -> int:
    text = part.text
    if text in ("Flat", "", "FlatDedup"):
        return 4 * d
    if text in SQ_BITS:
        return (d * SQ_BITS[text] + 7) // 8
    if text.startswith("PQ"):
        bits = 4 if "x4fs" in text else part.number("nbits", 8)
        return (part.number("M") * bits + 7) // 8 + part.number("M2")
    if text.startswith("LSH"):
        return (part.number("nbits", d) + 7) // 8
    raise NotImplementedError(f"[get_code_size] The size of the codes must be known. Received {text!r}.")
