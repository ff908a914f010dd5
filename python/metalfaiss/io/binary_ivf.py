"""IndexBinaryIVF in files, and the direct maps of all IVF indexes."""

from __future__ import annotations

from typing import Any

import numpy as np

from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.indexes.binary_ivf import IndexBinaryIVF
from metalfaiss.inverted_lists import DirectMap
from metalfaiss.io.binary import binary_header
from metalfaiss.io.inverted_lists import MOST_EMPTY
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import node_of, object_of, reads, writes

__all__: list[str] = []


def direct_map(found: DirectMap) -> dict[str, Any]:
    """The fields of a direct map."""
    array, pairs = found._native.array(), found._native.pairs()
    return {"map_type": found.type, "map_array": as_bytes(array, np.int64), "map_table": as_bytes(pairs, np.int64)}


def restore_direct_map(index: Any, record: Record) -> None:
    """Makes the direct map anew from the lists; the entries of a hash table keep the order of the file."""
    kind = record["map_type"]
    record.require(kind in (0, 1, 2), "map_type must be 0, 1 or 2", kind)
    if kind == DirectMap.NoMap:
        return
    index.set_direct_map_type(kind)
    native = index.direct_map._native
    if kind == DirectMap.Hashtable:
        pairs = record.copy("map_table")
        same = np.array_equal(native.get(np.ascontiguousarray(pairs[::2])), pairs[1::2])
        if same and pairs.size == native.pairs().size:  # written again, it then has the bytes that FAISS writes
            native.restore(kind, np.empty(0, dtype=np.int64), pairs)


@reads("IBwF")
def read_binary_ivf(record: Record) -> IndexBinaryIVF:
    quantizer, nlist, d = object_of(record["quantizer"]), record["nlist"], record["d"]
    record.require(isinstance(quantizer, IndexBinary), "quantizer must be a binary index", type(quantizer).__name__)
    record.require(nlist <= max(MOST_EMPTY, quantizer.ntotal), f"nlist must be at most {MOST_EMPTY}", nlist)
    index = IndexBinaryIVF(quantizer, d, nlist)
    lists = object_of(record["invlists"])
    if lists is not None:
        index.replace_invlists(lists, True)
    index.nprobe, index.is_trained, index.own_fields = record["nprobe"], record["is_trained"], True
    restore_direct_map(index, record)
    return index


@writes(IndexBinaryIVF)
def write_binary_ivf(index: IndexBinaryIVF) -> Node:
    own = {"nlist": index.nlist, "nprobe": index.nprobe, "quantizer": node_of(index.quantizer)}
    return "IBwF", binary_header(index) | own | direct_map(index.direct_map) | {"invlists": node_of(index.invlists)}
