"""Flat indexes in files, and the header that all indexes have."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlat, IndexFlatIP, IndexFlatL2
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import reads, writes
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2

__all__ = ["header", "restore_header"]

RESERVED = 1 << 20  # what FAISS writes where older versions had fields


def header(index: Index) -> dict[str, Any]:
    """The fields that stand first in every index."""
    return {
        "d": index.d,
        "ntotal": index.ntotal,
        "reserved0": RESERVED,
        "reserved1": RESERVED,
        "is_trained": index.is_trained,
        "metric_type": index.metric_type,
        "metric_arg": index.metric_arg,
    }


def restore_header(index: Any, record: Record) -> Any:
    """Sets what the constructor did not; returns the index."""
    index.is_trained = record["is_trained"]
    index.metric_arg = record.get("metric_arg", 0.0)
    return index


@reads("IxF2", "IxFI", "IxFl")
def read_flat(record: Record) -> IndexFlat:
    d, n = record["d"], record["ntotal"]
    record.require(d > 0, "d must be at least 1", d)
    index: IndexFlat
    match record.fourcc:
        case "IxF2":
            index = IndexFlatL2(d)
        case "IxFI":
            index = IndexFlatIP(d)
        case _:
            index = IndexFlat(d, record["metric_type"])
    if n > 0:
        record.require(n < 2**31, "ntotal must be below 2^31, the most rows of an array", n)
        index._add(record.mlx("codes", (n, d), "<f4"))
    return restore_header(index, record)  # type: ignore[no-any-return]


@writes(IndexFlat)
def write_flat(index: IndexFlat) -> Node:
    fourcc = {METRIC_L2: "IxF2", METRIC_INNER_PRODUCT: "IxFI"}.get(index.metric_type, "IxFl")
    chunks = index._chunks
    fields = header(index)
    fields["ntotal"] = sum(chunk.shape[0] for chunk in chunks)
    fields["codes"] = [vector_bytes(chunk) for chunk in chunks]
    return fourcc, fields


def vector_bytes(x: mx.array) -> Any:
    """The bytes of an array in float32, without a copy if it is contiguous and of that dtype."""
    x = mx.contiguous(x.astype(mx.float32))
    mx.eval(x)
    return as_bytes(np.array(x, copy=False))
