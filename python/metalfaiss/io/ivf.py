"""IVF indexes in files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metalfaiss import _core
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.ivf_flat import IndexIVFFlat
from metalfaiss.indexes.ivf_flat_dedup import IndexIVFFlatDedup
from metalfaiss.indexes.ivf_scalar_quantizer import IndexIVFScalarQuantizer
from metalfaiss.indexes.ivf_spectral_hash import IndexIVFSpectralHash
from metalfaiss.inverted_lists import ArrayInvertedLists
from metalfaiss.io.binary_ivf import direct_map, restore_direct_map
from metalfaiss.io.flat import header, restore_header
from metalfaiss.io.inverted_lists import MOST_EMPTY
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import node_of, object_of, reads, writes
from metalfaiss.io.scalar_quantizer import check_sizes, quantizer_fields, restore_quantizer

__all__: list[str] = []


def ivf_header(index: Any) -> dict[str, Any]:
    """The fields that stand first in every IVF index."""
    own = {"nlist": index.nlist, "nprobe": index.nprobe, "quantizer": node_of(index.quantizer)}
    return header(index) | own | direct_map(index.direct_map)


def checked_quantizer(record: Record) -> Index:
    quantizer, nlist = object_of(record["quantizer"]), record["nlist"]
    record.require(isinstance(quantizer, Index), "quantizer must be an index", type(quantizer).__name__)
    record.require(nlist <= max(MOST_EMPTY, quantizer.ntotal), f"nlist must be at most {MOST_EMPTY}", nlist)
    return quantizer  # type: ignore[no-any-return]


def restore_ivf(index: Any, record: Record) -> Any:
    """Sets what all IVF indexes have; returns the index."""
    lists = object_of(record["invlists"]) if "invlists" in record else old_lists(record, index.code_size)
    if lists is not None:  # else ntotal counts what the file does not have: here, it stays 0
        index.replace_invlists(lists, True)
        index.ntotal = record["ntotal"]
    index.nprobe, index.own_fields = record["nprobe"], True
    restore_header(index, record)
    restore_direct_map(index, record)
    return index


def old_lists(record: Record, code_size: int) -> ArrayInvertedLists:
    """The lists of FAISS's first formats: a vector of ids for each, and then a vector of codes for each."""
    unit = 4 if record.fourcc == "IvFl" else 1  # bytes of what the sizes of codes count
    lists = ArrayInvertedLists(record["nlist"], code_size)
    held, at, _ = record.borrowed("ids")
    ids = list(_vectors(held, at, lists.nlist, 8))
    _, at, _ = record.borrowed("codes")
    for i, (codes_at, size) in enumerate(_vectors(held, at, lists.nlist, unit)):
        ids_at, n = ids[i][0], ids[i][1] // 8
        record.require(size == n * code_size, f"List {i} must have {n * code_size} bytes of codes", size)
        if n:
            _core.borrow_list(lists._native, i, n, held, codes_at, held, ids_at)
    return lists


def _vectors(held: _core.FileBytes, at: int, count: int, unit: int) -> Iterator[tuple[int, int]]:
    """Where each of several vectors begins, and its bytes."""
    for _ in range(count):
        size = unit * int.from_bytes(held.numpy(at, 8).tobytes(), "little")
        yield at + 8, size
        at += 8 + size


@reads("IwFl", "IvFl", "IvFL")
def read_ivf_flat(record: Record) -> Any:
    index = IndexIVFFlat(checked_quantizer(record), record["d"], record["nlist"], record["metric_type"])
    return restore_ivf(index, record)


@writes(IndexIVFFlat)
def write_ivf_flat(index: IndexIVFFlat) -> Node:
    return "IwFl", ivf_header(index) | {"invlists": node_of(index.invlists)}


@reads("IwFd")
def read_ivf_flat_dedup(record: Record) -> Any:
    index = IndexIVFFlatDedup(checked_quantizer(record), record["d"], record["nlist"], record["metric_type"])
    pairs = record.copy("instances")
    record.require(pairs.size % 2 == 0, "instances must be pairs", f"{pairs.size} numbers")
    index._set_instances(pairs.reshape(-1, 2))
    return restore_ivf(index, record)


@writes(IndexIVFFlatDedup)
def write_ivf_flat_dedup(index: IndexIVFFlatDedup) -> Node:
    own = {"instances": as_bytes(index._instances)}
    return "IwFd", ivf_header(index) | own | {"invlists": node_of(index.invlists)}


@reads("IwSq", "IwSQ", "IvSQ")
def read_ivf_scalar_quantizer(record: Record) -> Any:
    quantizer, sq, by_residual = checked_quantizer(record), record["sq"], record.get("by_residual", True)
    check_sizes(sq)
    shape = (record["d"], record["nlist"], sq["qtype"])
    index = IndexIVFScalarQuantizer(quantizer, *shape, record["metric_type"], by_residual)
    restore_quantizer(index.sq, sq)
    return restore_ivf(index, record)


@writes(IndexIVFScalarQuantizer)
def write_ivf_scalar_quantizer(index: IndexIVFScalarQuantizer) -> Node:
    own = {"sq": quantizer_fields(index.sq), "code_size": index.code_size, "by_residual": index.by_residual}
    return "IwSq", ivf_header(index) | own | {"invlists": node_of(index.invlists)}


@reads("IwSh")
def read_ivf_spectral_hash(record: Record) -> Any:
    nbit, vt = record["nbit"], object_of(record["vt"])
    index = IndexIVFSpectralHash(checked_quantizer(record), record["d"], record["nlist"], nbit, record["period"])
    index.replace_vt(vt, True)
    kind = record["threshold_type"]
    record.require(0 <= kind <= 3, "threshold_type must be from 0 to 3", kind)
    index.threshold_type = kind
    index._set_thresholds(record.copy("trained"))
    given = index.threshold_type == index.Thresh_global or index._thresholds.size > 0 or not record["is_trained"]
    record.require(given, "trained must hold thresholds", "none")
    return restore_ivf(index, record)


@writes(IndexIVFSpectralHash)
def write_ivf_spectral_hash(index: IndexIVFSpectralHash) -> Node:
    own = {"vt": node_of(index.vt), "nbit": index.nbit, "period": index.period, "threshold_type": index.threshold_type}
    trained = {"trained": as_bytes(index._thresholds)}
    return "IwSh", ivf_header(index) | own | trained | {"invlists": node_of(index.invlists)}
