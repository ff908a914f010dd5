"""Vector transforms in files."""

from __future__ import annotations

from typing import Any

import numpy as np

from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import node_of, object_of, reads, writes
from metalfaiss.transforms import (
    CenteringTransform,
    HadamardRotation,
    ITQMatrix,
    ITQTransform,
    LinearTransform,
    NormalizationTransform,
    PCAMatrix,
    RandomRotationMatrix,
    RemapDimensionsTransform,
    VectorTransform,
)
from metalfaiss.vectors import Float32Vector, Int32Vector

__all__: list[str] = []

MOST = 1 << 20  # dimensions, as in FAISS: some constructors make arrays of as many


def sizes(record: Record) -> tuple[int, int]:
    """d_in and d_out, which must be such as a constructor takes."""
    d_in, d_out = record["d_in"], record["d_out"]
    record.require(0 < d_in <= MOST and 0 < d_out <= MOST, f"d_in and d_out must be from 1 to {MOST}", (d_in, d_out))
    return d_in, d_out


def fields(transform: VectorTransform, **before: Any) -> dict[str, Any]:
    """The fields that stand last in every transform, behind its own."""
    return before | {"d_in": transform.d_in, "d_out": transform.d_out, "is_trained": transform.is_trained}


def floats(vector: Float32Vector) -> Any:
    return as_bytes(vector.data(), np.float32)


@reads("LTra", "rrot", "Pcam", "PcAm", "PCAm", "Viqm")
def read_linear(record: Record) -> LinearTransform:
    d_in, d_out = sizes(record)
    transform: Any
    match record.fourcc:
        case "LTra":
            transform = LinearTransform(d_in, d_out)
        case "rrot":
            transform = RandomRotationMatrix(d_in, d_out)
        case "Viqm":
            record.require(d_in == d_out, "d_in and d_out must be equal", (d_in, d_out))
            transform = ITQMatrix(d_in)
            transform.max_iter, transform.seed = record["max_iter"], record["seed"]
        case _:
            transform = read_pca(record, d_in, d_out)
    transform.have_bias = record["have_bias"]
    transform.A = Float32Vector(record.array("A"))
    transform.b = Float32Vector(record.array("b"))
    transform.is_trained = record["is_trained"]
    record.require(
        not transform.is_trained or transform.A.size() == d_in * d_out,
        "A trained transform must have a matrix",
        f"{transform.A.size()} numbers",
    )
    biased = transform.is_trained and transform.have_bias
    record.require(not biased or transform.b.size() == d_out, "b must have d_out numbers", "none")
    if transform.A.size():
        transform.set_is_orthonormal()
    return transform  # type: ignore[no-any-return]


def read_pca(record: Record, d_in: int, d_out: int) -> PCAMatrix:
    transform = PCAMatrix(d_in, d_out, record["eigen_power"], record["random_rotation"])
    transform.epsilon = record.get("epsilon", 0.0)
    transform.balanced_bins = record.get("balanced_bins", 0)
    for name in ("mean", "eigenvalues", "PCAMat"):
        setattr(transform, name, Float32Vector(record.array(name)))
    return transform


@writes(LinearTransform)
def write_linear(transform: LinearTransform) -> Node:
    last = {"have_bias": transform.have_bias, "A": floats(transform.A), "b": floats(transform.b)}
    match transform:
        case PCAMatrix():
            own = {
                name: getattr(transform, name)
                for name in ("eigen_power", "epsilon", "random_rotation", "balanced_bins")
            }
            arrays = {name: floats(getattr(transform, name)) for name in ("mean", "eigenvalues", "PCAMat")}
            return "Pcam", fields(transform, **own, **arrays, **last)
        case ITQMatrix():
            return "Viqm", fields(transform, max_iter=transform.max_iter, seed=transform.seed, **last)
        case RandomRotationMatrix():
            return "rrot", fields(transform, **last)
    return "LTra", fields(transform, **last)


@reads("Viqt")
def read_itq(record: Record) -> ITQTransform:
    d_in, d_out = sizes(record)
    same = record["do_pca"] or d_in == d_out
    record.require(same, "d_in and d_out must be the same without do_pca", (d_in, d_out))
    transform = ITQTransform(d_in, d_out, record["do_pca"])
    transform.mean = Float32Vector(record.array("mean"))
    transform.itq, transform.pca_then_itq = object_of(record["itq"]), object_of(record["pca_then_itq"])
    transform.is_trained = record["is_trained"]
    inner = transform.pca_then_itq
    fits = isinstance(transform.itq, ITQMatrix) and isinstance(inner, LinearTransform)
    record.require(fits, "itq must be an ITQMatrix, and pca_then_itq linear", type(inner).__name__)
    record.require(
        not transform.is_trained or (inner.d_in, inner.d_out) == (d_in, d_out),
        f"pca_then_itq must map {d_in} to {d_out} dimensions",
        (inner.d_in, inner.d_out),
    )
    return transform


@writes(ITQTransform)
def write_itq(transform: ITQTransform) -> Node:
    own = {"mean": floats(transform.mean), "do_pca": transform.do_pca}
    inner = {"itq": node_of(transform.itq), "pca_then_itq": node_of(transform.pca_then_itq)}
    return "Viqt", fields(transform, **own, **inner)


@reads("HRot")
def read_hadamard(record: Record) -> HadamardRotation:
    d_in, d_out = sizes(record)
    power = 1 << (d_in - 1).bit_length()
    record.require(d_out == power, f"d_out must be {power}, the power of two from d_in", d_out)
    return HadamardRotation(d_in, record["seed"])


@writes(HadamardRotation)
def write_hadamard(transform: HadamardRotation) -> Node:
    return "HRot", fields(transform, seed=transform.seed)


@reads("RmDT")
def read_remap(record: Record) -> RemapDimensionsTransform:
    d_in, d_out = sizes(record)
    transform = RemapDimensionsTransform(d_in, d_out)
    chosen = record.copy("map")
    inside = bool(((chosen >= -1) & (chosen < d_in)).all())
    record.require(inside, f"map must hold numbers from -1 to {d_in - 1}", "others")
    transform.map = Int32Vector(chosen)
    return transform


@writes(RemapDimensionsTransform)
def write_remap(transform: RemapDimensionsTransform) -> Node:
    return "RmDT", fields(transform, map=as_bytes(transform.map.data(), np.int32))


@reads("VNrm")
def read_normalization(record: Record) -> NormalizationTransform:
    return NormalizationTransform(sizes(record)[0], record["norm"])


@writes(NormalizationTransform)
def write_normalization(transform: NormalizationTransform) -> Node:
    return "VNrm", fields(transform, norm=transform.norm)


@reads("VCnt")
def read_centering(record: Record) -> CenteringTransform:
    transform = CenteringTransform(sizes(record)[0])
    transform.mean = Float32Vector(record.array("mean"))
    transform.is_trained = record["is_trained"]
    record.require(
        not transform.is_trained or transform.mean.size() > 0, "A trained transform must have a mean", "none"
    )
    return transform


@writes(CenteringTransform)
def write_centering(transform: CenteringTransform) -> Node:
    return "VCnt", fields(transform, mean=floats(transform.mean))
