"""Indexes of binary codes in files."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.indexes.binary_flat import IndexBinaryFlat
from metalfaiss.indexes.binary_from_float import IndexBinaryFromFloat
from metalfaiss.indexes.binary_id_map import IndexBinaryIDMap, IndexBinaryIDMap2
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import node_of, object_of, reads, writes

__all__ = ["binary_header"]


def binary_header(index: IndexBinary) -> dict[str, Any]:
    """The fields that stand first in every binary index."""
    return {
        "d": index.d,
        "code_size": index.code_size,
        "ntotal": index.ntotal,
        "is_trained": index.is_trained,
        "metric_type": index.metric_type,
    }


@reads("IBxF")
def read_binary_flat(record: Record) -> IndexBinaryFlat:
    index = IndexBinaryFlat(record["d"])
    if n := record["ntotal"]:
        record.require(n < 2**31, "ntotal must be below 2^31, the most rows of an array", n)
        index._add(record.mlx("xb", (n, index.code_size), "|u1"))
    return index


@writes(IndexBinaryFlat)
def write_binary_flat(index: IndexBinaryFlat) -> Node:
    chunks = index._store.chunks
    mx.eval(*chunks)
    total = sum(chunk.shape[0] for chunk in chunks)
    codes = [as_bytes(np.array(mx.contiguous(chunk), copy=False)) for chunk in chunks]
    return "IBxF", binary_header(index) | {"ntotal": total, "xb": codes}


@reads("IBMp", "IBM2")
def read_binary_id_map(record: Record) -> IndexBinaryIDMap:
    inner = object_of(record["index"])
    cls = IndexBinaryIDMap2 if record.fourcc == "IBM2" else IndexBinaryIDMap
    index: IndexBinaryIDMap = cls(IndexBinaryFlat(inner.d))  # the constructor refuses an index with codes
    index.index = inner
    index._set_id_map(record.copy("id_map"))
    index.own_fields = True
    return index


@writes(IndexBinaryIDMap)
def write_binary_id_map(index: IndexBinaryIDMap) -> Node:
    fourcc = "IBM2" if isinstance(index, IndexBinaryIDMap2) else "IBMp"
    return fourcc, binary_header(index) | {"index": node_of(index.index), "id_map": as_bytes(index._id_map)}


@reads("IBFf")
def read_binary_from_float(record: Record) -> IndexBinaryFromFloat:
    index = IndexBinaryFromFloat(object_of(record["index"]))
    record.require(index.d == record["d"], f"d must be {index.d}, that of the index inside", record["d"])
    index.own_fields = True
    return index


@writes(IndexBinaryFromFloat)
def write_binary_from_float(index: IndexBinaryFromFloat) -> Node:
    return "IBFf", binary_header(index) | {"index": node_of(index.index)}
