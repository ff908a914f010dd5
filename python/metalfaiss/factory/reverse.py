"""The description of an index: what ``index_factory`` would have been given."""

from __future__ import annotations

from typing import Any

import metalfaiss
from metalfaiss.factory.build import HADAMARD_SEED, SQ_TYPES

__all__ = ["reverse_index_factory"]


def reverse_index_factory(index: Any) -> str:
    """The description of an index, of a binary index, or of a transform.

    What a description cannot say is left out: values, search settings, the metric.

    Raises:
        NotImplementedError: no description makes such an index.
    """
    for name, describe in _DESCRIPTIONS:
        kind = getattr(metalfaiss, name, None)
        if kind is not None and isinstance(index, kind):
            return str(describe(index))
    raise NotImplementedError(
        f"[reverse_index_factory] index must be of a type that index_factory makes. Received {type(index).__name__}."
    )


def _sq(index: Any) -> str:
    for name, qtype in SQ_TYPES.items():
        if index.sq.qtype == qtype:
            return name
    raise NotImplementedError(
        f"[reverse_index_factory] The quantizer type must be one of {', '.join(SQ_TYPES)}. Received {index.sq.qtype}."
    )


def _ivf(index: Any, code: str) -> str:
    flat = isinstance(index.quantizer, metalfaiss.IndexFlat)
    return f"IVF{index.nlist}" + ("" if flat else f"({reverse_index_factory(index.quantizer)})") + f",{code}"


def _spectral_hash(index: Any) -> str:
    kind = "ITQ" if isinstance(index.vt, metalfaiss.ITQTransform) else "PCA" + "R" * index.vt.random_rotation
    letters = {index.Thresh_global: "g", index.Thresh_centroid: "c", index.Thresh_median: "m"}
    if index.threshold_type not in letters:
        raise NotImplementedError(
            f"[reverse_index_factory] threshold_type must be one of {list(letters)}. Received {index.threshold_type}."
        )
    return f"{kind}{index.nbit},SH{index.period:.9g}".replace("+", "") + letters[index.threshold_type]


def _pca(t: Any) -> str:
    return "PCA" + ("W" if t.eigen_power == -0.5 else "") + ("R" if t.random_rotation else "") + str(t.d_out)


def _opq(t: Any) -> str:
    return f"OPQ{t.M}" + (f"_{t.d_out}" if t.d_out != t.d_in else "")


def _lsh(index: Any) -> str:
    return f"LSH{index.nbits}" + ("r" if index.rotate_data else "") + ("t" if index.train_thresholds else "")


def _refined(index: Any) -> str:
    return f"{reverse_index_factory(index.base_index)},Refine({reverse_index_factory(index.refine_index)})"


# In this order: a class stands before those that it is derived from.
_DESCRIPTIONS: tuple[tuple[str, Any], ...] = (
    ("IndexIDMap2", lambda i: f"IDMap2,{reverse_index_factory(i.index)}"),
    ("IndexIDMap", lambda i: f"IDMap,{reverse_index_factory(i.index)}"),
    ("IndexRefineFlat", lambda i: f"{reverse_index_factory(i.base_index)},RFlat"),
    ("IndexRefine", _refined),
    ("IndexPreTransform", lambda i: ",".join(map(reverse_index_factory, [*i.chain, i.index]))),
    ("IndexRowwiseMinMaxFP16", lambda i: f"MinMaxFP16,{reverse_index_factory(i.index)}"),
    ("IndexRowwiseMinMax", lambda i: f"MinMax,{reverse_index_factory(i.index)}"),
    ("IndexIVFFlatDedup", lambda i: _ivf(i, "FlatDedup")),
    ("IndexIVFFlat", lambda i: _ivf(i, "Flat")),
    ("IndexIVFScalarQuantizer", lambda i: _ivf(i, _sq(i))),
    ("IndexIVFSpectralHash", lambda i: _ivf(i, _spectral_hash(i))),
    ("IndexScalarQuantizer", _sq),
    ("IndexLSH", _lsh),
    ("IndexFlat", lambda i: "Flat"),
    ("IndexBinaryIDMap2", lambda i: f"IDMap2,{reverse_index_factory(i.index)}"),
    ("IndexBinaryIDMap", lambda i: f"IDMap,{reverse_index_factory(i.index)}"),
    ("IndexBinaryIVF", lambda i: f"BIVF{i.nlist}"),
    ("IndexBinaryHash", lambda i: f"BHash{i.b}"),
    ("IndexBinaryMultiHash", lambda i: f"BHash{i.nhash}x{i.b}"),
    ("IndexBinaryFlat", lambda i: "BFlat"),
    ("PCAMatrix", _pca),
    ("OPQMatrix", _opq),
    ("RandomRotationMatrix", lambda t: "RR" + (str(t.d_out) if t.d_out != t.d_in else "")),
    ("HadamardRotation", lambda t: "HR" + (str(t.seed) if t.seed != HADAMARD_SEED else "")),
    ("ITQTransform", lambda t: f"ITQ{t.d_out}" if t.do_pca else "ITQ"),
    ("NormalizationTransform", lambda t: "L2norm"),
    ("RemapDimensionsTransform", lambda t: f"Pad{t.d_out}"),
)
