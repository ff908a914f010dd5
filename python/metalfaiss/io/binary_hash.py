"""IndexBinaryHash and IndexBinaryMultiHash in files."""

from __future__ import annotations

from metalfaiss.indexes.binary_flat import IndexBinaryFlat
from metalfaiss.indexes.binary_hash import HashedIndex, IndexBinaryHash, IndexBinaryMultiHash
from metalfaiss.io.binary import binary_header
from metalfaiss.io.records import Node, Record
from metalfaiss.io.registry import node_of, object_of, reads, writes

__all__: list[str] = []


def _restore(index: HashedIndex, record: Record, *written: object) -> None:
    index.nflip = record["nflip"]
    index._read(record["ntotal"], *written)


@reads("IBHh")
def read_binary_hash(record: Record) -> IndexBinaryHash:
    index = IndexBinaryHash(record["d"], record["b"])
    _restore(index, record, record["size"], record["il_nbit"], record["buffer"], record["lists"])
    return index


@writes(IndexBinaryHash)
def write_binary_hash(index: IndexBinaryHash) -> Node:
    ntotal, size, bits, sizes, lists = index._written()
    own = {"b": index.b, "nflip": index.nflip, "size": size, "il_nbit": bits, "buffer": sizes, "lists": lists}
    return "IBHh", binary_header(index) | {"ntotal": ntotal} | own


@reads("IBHm")
def read_binary_multi_hash(record: Record) -> IndexBinaryMultiHash:
    storage, ntotal = object_of(record["storage"]), record["ntotal"]
    flat = type(storage) is IndexBinaryFlat and storage.d == record["d"] and storage.ntotal == ntotal
    record.require(flat, f"storage must be an IndexBinaryFlat of {ntotal} codes", repr(storage))
    index = IndexBinaryMultiHash(record["d"], record["nhash"], record["b"])
    index.storage = storage
    _restore(index, record, [(map["size"], map["id_bits"], map["buffer"]) for map in record["maps"]])
    return index


@writes(IndexBinaryMultiHash)
def write_binary_multi_hash(index: IndexBinaryMultiHash) -> Node:
    ntotal, maps = index._written()
    packed = [("", {"size": size, "id_bits": bits, "buffer": buffer}) for size, bits, buffer in maps]
    own = {"storage": node_of(index.storage), "b": index.b, "nhash": index.nhash, "nflip": index.nflip, "maps": packed}
    return "IBHm", binary_header(index) | {"ntotal": ntotal} | own
