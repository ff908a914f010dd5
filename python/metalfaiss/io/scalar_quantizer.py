"""The scalar quantizer, and the index of its codes, in files."""

from __future__ import annotations

import numpy as np

from metalfaiss.indexes.scalar_quantizer import IndexScalarQuantizer
from metalfaiss.io.flat import header, restore_header
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import reads, writes
from metalfaiss.scalar_quantizer import ScalarQuantizer

__all__ = ["check_sizes", "quantizer_fields", "restore_quantizer"]

MOST = 1 << 20  # dimensions: a uniform quantizer makes arrays of as many out of two numbers


def check_sizes(record: Record) -> None:
    record.require(0 < record["d"] <= MOST, f"d must be from 1 to {MOST}", record["d"])


def quantizer_fields(sq: ScalarQuantizer) -> Node:
    own = {name: getattr(sq, name) for name in ("qtype", "rangestat", "rangestat_arg", "d", "code_size")}
    return "", own | {"trained": as_bytes(sq.trained, np.float32)}


def restore_quantizer(sq: ScalarQuantizer, record: Record) -> None:
    record.require(sq.code_size == record["code_size"], f"code_size must be {sq.code_size}", record["code_size"])
    sq.rangestat, sq.rangestat_arg = record["rangestat"], record["rangestat_arg"]
    sq.trained = record.array("trained")


@reads("IxSQ")
def read_scalar_quantizer(record: Record) -> IndexScalarQuantizer:
    sq, n = record["sq"], record["ntotal"]
    check_sizes(sq)
    index = IndexScalarQuantizer(record["d"], sq["qtype"], record["metric_type"])
    restore_quantizer(index.sq, sq)
    if n:
        index._borrow(*record.borrowed("codes")[:2], n)
    restore_header(index, record)
    return index


@writes(IndexScalarQuantizer)
def write_scalar_quantizer(index: IndexScalarQuantizer) -> Node:
    return "IxSQ", header(index) | {"sq": quantizer_fields(index.sq), "codes": as_bytes(index.codes)}
