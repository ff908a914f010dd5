"""IndexLSH in files."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from metalfaiss.indexes.lsh import IndexLSH
from metalfaiss.io.flat import header, restore_header
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import node_of, object_of, reads, writes
from metalfaiss.transforms import RandomRotationMatrix

__all__: list[str] = []


@reads("IxHe")
def read_lsh(record: Record) -> IndexLSH:
    d, nbits, n = record["d"], record["nbits"], record["ntotal"]
    record.require(0 < d <= 1 << 20 and 0 < nbits <= 1 << 20, "d and nbits must be from 1 to 1048576", (d, nbits))
    record.require(record["rrot"].fourcc == "rrot", "rrot must be a RandomRotationMatrix", record["rrot"].class_name)
    rotation: RandomRotationMatrix = object_of(record["rrot"])
    record.require(record["rotate_data"] or nbits <= d, "nbits must be at most d without rotation", nbits)
    index = IndexLSH(d, min(nbits, d), False, record["train_thresholds"])  # makes no rotation: the file has it
    index.nbits = nbits
    index._reset()
    record.require(record["code_size"] == index.code_size, f"code_size must be {index.code_size}", record["code_size"])
    index.rotate_data, index.rrot = record["rotate_data"], rotation
    record.require(rotation.is_trained or not index.rotate_data, "rrot must be trained", "one that is not")
    if record.array("thresholds").size:
        index._set_thresholds(record.copy("thresholds"))
    if n > 0:
        record.require(n < 2**31, "ntotal must be below 2^31, the most rows of an array", n)
        index._store.append(record.mlx("codes", (n, index.code_size), "|u1"))
    return restore_header(index, record)  # type: ignore[no-any-return]


@writes(IndexLSH)
def write_lsh(index: IndexLSH) -> Node:
    chunks = index._store.chunks
    mx.eval(*chunks)
    own = {name: getattr(index, name) for name in ("nbits", "rotate_data", "train_thresholds", "code_size")}
    arrays = {
        "ntotal": sum(chunk.shape[0] for chunk in chunks),
        "thresholds": as_bytes(index._thresholds, np.float32),
        "codes": [as_bytes(np.array(mx.contiguous(chunk), copy=False)) for chunk in chunks],
    }
    return "IxHe", header(index) | own | arrays | {"rrot": node_of(index.rrot)}
