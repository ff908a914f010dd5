"""Syntax trees to indexes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import metalfaiss
from metalfaiss import _host
from metalfaiss.factory.grammar import Inverted, Leaf, Node, Refined, Transformed, Wrapped, parse, parse_binary, parts
from metalfaiss.factory.rules import RULES, Part, Rule
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.planned import PLANNED

__all__ = ["BUILT", "index_binary_factory", "index_factory"]

SQ_TYPES = {  # FAISS's numbers of the quantizer types
    "SQ8": 0,
    "SQ4": 1,
    "SQfp16": 4,
    "SQ8_direct": 5,
    "SQ6": 6,
    "SQbf16": 7,
    "SQ8_direct_signed": 8,
}
UNITS = {"": 1, "k": 1024, "M": 1024**2}
HADAMARD_SEED = 12345

# What there is a builder for, by group and class. The class itself is looked up in the package when it is wanted.
BUILT = {
    ("wrapper", "IndexIDMap"),
    ("wrapper", "IndexIDMap2"),
    ("refine", "IndexRefineFlat"),
    ("refine", "IndexRefine"),
    *((rule.group, rule.builds) for rule in RULES if rule.group == "transform"),
    ("basic", "IndexFlat"),
    ("basic", "IndexLSH"),
    ("basic", "IndexScalarQuantizer"),
    ("coarse", "IndexFlat"),
    ("coarse", "the index X"),
    ("IVF code", "IndexIVFFlat"),
    ("IVF code", "IndexIVFFlatDedup"),
    ("IVF code", "IndexIVFScalarQuantizer"),
    ("IVF code", "IndexIVFSpectralHash"),
    ("row", "IndexRowwiseMinMax"),
    ("row", "IndexRowwiseMinMaxFP16"),
    ("binary", "IndexBinaryFlat"),
    ("binary", "IndexBinaryIDMap"),
    ("binary", "IndexBinaryIDMap2"),
    ("binary", "IndexBinaryIVF"),
    ("binary", "IndexBinaryHash"),
    ("binary", "IndexBinaryMultiHash"),
}


def is_built(rule: Rule) -> bool:
    return (rule.group, rule.builds) in BUILT and "tqmse" not in rule.form


def index_factory(d: int, description: str, metric: int = METRIC_L2, own_invlists: bool = True) -> Any:
    """The index that a description says, untrained and empty.

    Args:
        d: the dimension of the vectors.
        description: parts, separated by commas: see docs/factory.md.
        metric: what a search compares.
        own_invlists: for FAISS's signature; an index always has its own lists.

    Raises:
        TypeError: ``d`` or ``metric`` is not an integer, or the description no string.
        ValueError: ``d`` is less than 1, or a type does not know the metric.
        RuntimeError: the description is none of an index, or does not go with the metric.
        NotImplementedError: a part is of a type that is not built yet.
    """
    op = "index_factory"
    d, metric = _host.integer(op, "d", d, 1), _host.require_int(op, "metric", metric)
    if not own_invlists:
        raise NotImplementedError(f"[{op}] own_invlists must be True. Received {own_invlists!r}.")
    tree = parse(_text(op, description))
    _require_built(op, tree, description)
    return _build(tree, d, metric)


def index_binary_factory(d: int, description: str, own_invlists: bool = True) -> Any:
    """The binary index that a description says, untrained and empty.

    Args:
        d: how many bits a vector has.
        description: see docs/factory.md.
        own_invlists: for FAISS's signature; an index always has its own lists.

    Raises:
        TypeError: ``d`` is not an integer, or the description no string.
        ValueError: ``d`` is not a multiple of 8.
        RuntimeError: the description is none of a binary index.
        NotImplementedError: it is of a type that is not built yet.
    """
    op = "index_binary_factory"
    d = _host.integer(op, "d", d, 1)
    if not own_invlists:
        raise NotImplementedError(f"[{op}] own_invlists must be True. Received {own_invlists!r}.")
    tree = parse_binary(_text(op, description))
    _require_built(op, tree, description)
    return _build_binary(tree, d)


def _text(op: str, description: object) -> str:
    if not isinstance(description, str):
        raise TypeError(f"[{op}] description must be a str. Received {type(description).__name__}.")
    return description


def _require_built(op: str, tree: Node, description: str) -> None:
    for part in parts(tree):
        if not is_built(part.rule) and part.rule.group not in ("graph", "two-layer"):
            raise NotImplementedError(f"[{op}] {part.rule.builds} is not built yet. Received {description!r}.")


def _class(name: str, text: str) -> Any:
    found = None if name in PLANNED else getattr(metalfaiss, name, None)
    if found is None:
        raise NotImplementedError(f"[index_factory] {name} is not built yet. Received {text!r}.")
    return found


def _build(node: Node, d: int, metric: int) -> Any:
    if isinstance(node, Wrapped):
        return _owner(_class(node.part.rule.builds, node.part.text)(_build(node.base, d, metric)))
    if isinstance(node, Refined):
        return _build_refined(node, d, metric)
    if isinstance(node, Transformed):
        return _build_transformed(node, d, metric)
    if isinstance(node, Inverted):
        return _build_inverted(node, d, metric)
    return _LEAVES[node.part.rule.builds](node.part, d, metric)


def _owner(index: Any) -> Any:
    index.own_fields = True
    return index


def _build_refined(node: Refined, d: int, metric: int) -> Any:
    base = _build(node.base, d, metric)
    if node.refine is None:
        index = _owner(metalfaiss.IndexRefineFlat(base))
        index.own_refine_index = True
        return index
    index = _owner(metalfaiss.IndexRefine(base, _build(node.refine, d, metric)))
    index.own_refine_index = True
    return index


def _build_transformed(node: Transformed, d: int, metric: int) -> Any:
    transforms = []
    for part in node.transforms:
        transforms.append(_TRANSFORMS[part.rule.builds](part, d))
        d = transforms[-1].d_out
    index = _owner(metalfaiss.IndexPreTransform(_build(node.base, d, metric)))
    for transform in reversed(transforms):
        index.prepend_transform(transform)
    return index


def _build_inverted(node: Inverted, d: int, metric: int) -> Any:
    nlist = node.coarse.number("nlist") * UNITS[node.coarse.values["unit"] or ""]
    quantizer = metalfaiss.IndexFlat(d, metric) if node.quantizer is None else _build(node.quantizer, d, metric)
    make = _class(node.code.rule.builds, node.code.text)
    if node.code.rule.builds in ("IndexIVFFlat", "IndexIVFFlatDedup"):
        index = make(quantizer, d, nlist, metric)
    elif node.code.rule.builds == "IndexIVFSpectralHash":
        index = _spectral_hash(node.code, quantizer, d, nlist)
    else:
        index = make(quantizer, d, nlist, SQ_TYPES[node.code.text], metric, True)
    index.quantizer_trains_alone = 0 if isinstance(quantizer, metalfaiss.IndexFlat) else 2
    index.cp.spherical = index.metric_type == METRIC_INNER_PRODUCT
    return _owner(index)


def _spectral_hash(part: Part, quantizer: Any, d: int, nlist: int) -> Any:
    nbit, period = part.number("d", d), float(part.values["period"] or -1e10)
    index = metalfaiss.IndexIVFSpectralHash(quantizer, d, nlist, nbit, period)
    kind = part.values["kind"]
    if kind == "ITQ":
        index.replace_vt(metalfaiss.ITQTransform(d, nbit, nbit != d))
    else:
        index.replace_vt(metalfaiss.PCAMatrix(d, nbit, 0.0, kind == "PCAR"))
    index.threshold_type = {"": 0, "g": 0, "c": 1, "m": 3}[part.values["threshold"] or ""]
    return index


def _build_binary(node: Node, d: int) -> Any:
    if isinstance(node, Wrapped):
        return _owner(_class(node.part.rule.builds, node.part.text)(_build_binary(node.base, d)))
    assert isinstance(node, Leaf)
    make = _class(node.part.rule.builds, node.part.text)
    if node.part.rule.builds == "IndexBinaryFlat":
        return make(d)
    if node.part.rule.builds == "IndexBinaryHash":
        return make(d, node.part.number("b"))
    if node.part.rule.builds == "IndexBinaryMultiHash":
        return make(d, node.part.number("n"), node.part.number("b"))
    return _owner(make(metalfaiss.IndexBinaryFlat(d), d, node.part.number("nlist")))


def _lsh(part: Part, d: int, metric: int) -> Any:
    if metric != METRIC_L2:
        raise RuntimeError(f"[index_factory] metric must be METRIC_L2 for {part.text!r}. Received {metric}.")
    return _class("IndexLSH", part.text)(d, part.number("nbits", d), part.has("rotate"), part.has("train"))


def _scalar_quantizer(part: Part, d: int, metric: int) -> Any:
    return _class("IndexScalarQuantizer", part.text)(d, SQ_TYPES[part.text], metric)


_LEAVES: dict[str, Callable[[Part, int, int], Any]] = {
    "IndexFlat": lambda part, d, metric: metalfaiss.IndexFlat(d, metric),
    "IndexLSH": _lsh,
    "IndexScalarQuantizer": _scalar_quantizer,
}

_TRANSFORMS: dict[str, Callable[[Part, int], Any]] = {
    "PCAMatrix": lambda part, d: metalfaiss.PCAMatrix(
        d, part.number("d"), -0.5 if part.has("white") else 0.0, part.has("rotate")
    ),
    "NormalizationTransform": lambda part, d: metalfaiss.NormalizationTransform(d, 2.0),
    "RandomRotationMatrix": lambda part, d: metalfaiss.RandomRotationMatrix(d, part.number("d", d)),
    "HadamardRotation": lambda part, d: metalfaiss.HadamardRotation(d, part.number("seed", HADAMARD_SEED)),
    "ITQTransform": lambda part, d: metalfaiss.ITQTransform(d, part.number("d", d), part.has("d")),
    "OPQMatrix": lambda part, d: metalfaiss.OPQMatrix(d, part.number("M"), part.number("d", d)),
    "RemapDimensionsTransform": lambda part, d: metalfaiss.RemapDimensionsTransform(d, max(part.number("d"), d), False),
}
