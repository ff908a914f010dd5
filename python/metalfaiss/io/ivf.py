"""IVF and scalar quantizer indexes in files. A draft: not registered and not tested, since it waits for the classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from metalfaiss.indexes.ivf_flat import IndexIVFFlat
from metalfaiss.indexes.ivf_scalar_quantizer import IndexIVFScalarQuantizer
from metalfaiss.io.binary_ivf import direct_map
from metalfaiss.io.flat import header, restore_header
from metalfaiss.io.inverted_lists import MOST_EMPTY
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import node_of, object_of, reads, writes
from metalfaiss.vectors import Float32Vector


def ivf_header(index: Any) -> dict[str, Any]:
    own = {"nlist": index.nlist, "nprobe": index.nprobe, "quantizer": node_of(index.quantizer)}
    return header(index) | own | direct_map(index.direct_map)


def restore_ivf(index: Any, record: Record) -> Any:
    lists = object_of(record["invlists"])
    if lists is not None:
        index.replace_invlists(lists, True)
    index.nprobe, index.own_fields = record["nprobe"], True
    restore_header(index, record)
    if record["map_type"]:
        index.set_direct_map_type(record["map_type"])
    return index


def checked_quantizer(record: Record) -> Any:
    quantizer, nlist = object_of(record["quantizer"]), record["nlist"]
    record.require(nlist <= max(MOST_EMPTY, quantizer.ntotal), f"nlist must be at most {MOST_EMPTY}", nlist)
    return quantizer


@reads("IwFl")
def read_ivf_flat(record: Record) -> Any:
    index = IndexIVFFlat(checked_quantizer(record), record["d"], record["nlist"], record["metric_type"])
    return restore_ivf(index, record)


@writes(IndexIVFFlat)
def write_ivf_flat(index: IndexIVFFlat) -> Node:
    return "IwFl", ivf_header(index) | {"invlists": node_of(index.invlists)}


def quantizer_fields(sq: Any) -> dict[str, Any]:
    own = {name: getattr(sq, name) for name in ("qtype", "rangestat", "rangestat_arg", "d", "code_size")}
    return own | {"trained": as_bytes(sq.trained.data(), np.float32)}


def restore_quantizer(sq: Any, record: Record) -> None:
    record.require(sq.code_size == record["code_size"], f"code_size must be {sq.code_size}", record["code_size"])
    sq.rangestat, sq.rangestat_arg = record["rangestat"], record["rangestat_arg"]
    sq.trained = Float32Vector(record.array("trained"))


@reads("IwSq", "IwSQ")
def read_ivf_scalar_quantizer(record: Record) -> Any:
    quantizer, sq = checked_quantizer(record), record["sq"]
    shape = (record["d"], record["nlist"])
    index = IndexIVFScalarQuantizer(quantizer, *shape, sq["qtype"], record["metric_type"], record.get("by_residual", True))
    restore_quantizer(index.sq, sq)
    return restore_ivf(index, record)


@writes(IndexIVFScalarQuantizer)
def write_ivf_scalar_quantizer(index: IndexIVFScalarQuantizer) -> Node:
    own = {"sq": ("", quantizer_fields(index.sq)), "code_size": index.code_size, "by_residual": index.by_residual}
    return "IwSq", ivf_header(index) | own | {"invlists": node_of(index.invlists)}
