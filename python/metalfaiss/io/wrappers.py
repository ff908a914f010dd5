"""Indexes around other indexes in files."""

from __future__ import annotations

from metalfaiss.indexes.flat import IndexFlat
from metalfaiss.indexes.idmap import IndexIDMap, IndexIDMap2
from metalfaiss.indexes.ivf import IndexIVF
from metalfaiss.indexes.ivf_independent_quantizer import IndexIVFIndependentQuantizer
from metalfaiss.indexes.pretransform import IndexPreTransform
from metalfaiss.indexes.refine import IndexRefine, IndexRefineFlat
from metalfaiss.indexes.rowwise_minmax import IndexRowwiseMinMax, IndexRowwiseMinMaxBase, IndexRowwiseMinMaxFP16
from metalfaiss.io.flat import header, restore_header
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import node_of, object_of, reads, writes

__all__: list[str] = []


@reads("IxMp", "IxM2")
def read_id_map(record: Record) -> IndexIDMap:
    inner = object_of(record["index"])
    cls = IndexIDMap2 if record.fourcc == "IxM2" else IndexIDMap
    index: IndexIDMap = cls(IndexFlat(inner.d, inner.metric_type))  # the constructor refuses an index with vectors
    index.index = inner
    index._set_ids(record.copy("id_map"))
    index.metric_arg = record.get("metric_arg", 0.0)
    index.own_fields = True
    return index


@writes(IndexIDMap)
def write_id_map(index: IndexIDMap) -> Node:
    fourcc = "IxM2" if isinstance(index, IndexIDMap2) else "IxMp"
    ids = index._ids()
    return fourcc, header(index) | {"index": node_of(index.index), "ntotal": ids.size, "id_map": as_bytes(ids)}


@reads("IxPT")
def read_pre_transform(record: Record) -> IndexPreTransform:
    index = IndexPreTransform(object_of(record["index"]))
    for transform in reversed([object_of(child) for child in record["chain"]]):
        index.prepend_transform(transform)
    record.require(index.d == record["d"], f"d must be {index.d}, which the transforms take", record["d"])
    index.metric_arg = record.get("metric_arg", 0.0)
    index.own_fields = True
    return index


@writes(IndexPreTransform)
def write_pre_transform(index: IndexPreTransform) -> Node:
    chain = [node_of(transform) for transform in index.chain]
    return "IxPT", header(index) | {"nt": len(chain), "chain": chain, "index": node_of(index.index)}


@reads("IxRF")
def read_refine(record: Record) -> IndexRefine:
    base, refine = object_of(record["base_index"]), object_of(record["refine_index"])
    index = IndexRefine(base, refine)
    if isinstance(refine, IndexFlat):  # as FAISS does; the file does not tell
        index.__class__ = IndexRefineFlat
    index.k_factor = record["k_factor"]
    index.own_fields = index.own_refine_index = True
    return restore_header(index, record)  # type: ignore[no-any-return]


@writes(IndexRefine)
def write_refine(index: IndexRefine) -> Node:
    fields = {
        "base_index": node_of(index.base_index),
        "refine_index": node_of(index.refine_index),
        "k_factor": index.k_factor,
    }
    return "IxRF", header(index) | fields


@reads("IRMf", "IRMh")
def read_rowwise_minmax(record: Record) -> IndexRowwiseMinMaxBase:
    cls = IndexRowwiseMinMaxFP16 if record.fourcc == "IRMh" else IndexRowwiseMinMax
    index = cls(object_of(record["index"]))
    record.require(index.d == record["d"], f"d must be {index.d}, that of the index inside", record["d"])
    index.own_fields = True
    return restore_header(index, record)  # type: ignore[no-any-return]


@writes(IndexRowwiseMinMaxBase)
def write_rowwise_minmax(index: IndexRowwiseMinMaxBase) -> Node:
    fourcc = "IRMh" if isinstance(index, IndexRowwiseMinMaxFP16) else "IRMf"
    return fourcc, header(index) | {"index": node_of(index.index)}


@reads("IwIQ")
def read_independent_quantizer(record: Record) -> IndexIVFIndependentQuantizer:
    quantizer, ivf = object_of(record["quantizer"]), object_of(record["index_ivf"])
    record.require(isinstance(ivf, IndexIVF), "index_ivf must be an IVF index", type(ivf).__name__)
    vt = object_of(record["vt"]) if record["has_vt"] else None
    index = IndexIVFIndependentQuantizer(quantizer, ivf, vt)
    index.own_fields = True
    return restore_header(index, record)  # type: ignore[no-any-return]


@writes(IndexIVFIndependentQuantizer)
def write_independent_quantizer(index: IndexIVFIndependentQuantizer) -> Node:
    fields = {"quantizer": node_of(index.quantizer), "has_vt": index.vt is not None}
    if index.vt is not None:
        fields["vt"] = node_of(index.vt)
    return "IwIQ", header(index) | fields | {"index_ivf": node_of(index.index_ivf)}
