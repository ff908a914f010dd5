"""FAISS's files, byte for byte in both directions. See docs/files.md."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.inverted_lists import ArrayInvertedLists, InvertedLists
from metalfaiss.io import (  # each registers what it reads and writes
    binary,
    binary_hash,
    binary_ivf,
    inverted_lists,
    ivf,
    lsh,
    ondisk,
    scalar_quantizer,
    transforms,
    wrappers,
)
from metalfaiss.io.errors import IndexFileError
from metalfaiss.io.flags import (
    IO_FLAG_MMAP,
    IO_FLAG_MMAP_IFC,
    IO_FLAG_ONDISK_SAME_DIR,
    IO_FLAG_PQ_SKIP_SDC_TABLE,
    IO_FLAG_READ_ONLY,
    IO_FLAG_SKIP_IVF_DATA,
    IO_FLAG_SKIP_PRECOMPUTE_TABLE,
    IO_FLAG_SKIP_STORAGE,
)
from metalfaiss.io.ondisk import OnDiskInvertedLists
from metalfaiss.io.records import contents
from metalfaiss.io.registry import node_of, object_of
from metalfaiss.io.sinks import (
    BufferedIOWriter,
    FileIOWriter,
    IOWriter,
    PyCallbackIOWriter,
    Target,
    VectorIOWriter,
    write_record,
)
from metalfaiss.io.sources import (
    BufferedIOReader,
    FileIOReader,
    IOReader,
    MappedFileIOReader,
    PyCallbackIOReader,
    Source,
    VectorIOReader,
    ZeroCopyIOReader,
    memory_of,
    read_record,
)
from metalfaiss.transforms import VectorTransform

__all__ = [
    "IO_FLAG_MMAP",
    "IO_FLAG_MMAP_IFC",
    "IO_FLAG_ONDISK_SAME_DIR",
    "IO_FLAG_PQ_SKIP_SDC_TABLE",
    "IO_FLAG_READ_ONLY",
    "IO_FLAG_SKIP_IVF_DATA",
    "IO_FLAG_SKIP_PRECOMPUTE_TABLE",
    "IO_FLAG_SKIP_STORAGE",
    "BufferedIOReader",
    "BufferedIOWriter",
    "FileIOReader",
    "FileIOWriter",
    "IOReader",
    "IOWriter",
    "IndexFileError",
    "MappedFileIOReader",
    "OnDiskInvertedLists",
    "PyCallbackIOReader",
    "PyCallbackIOWriter",
    "VectorIOReader",
    "VectorIOWriter",
    "ZeroCopyIOReader",
    "deserialize_index",
    "deserialize_index_binary",
    "inspect",
    "read_InvertedLists",
    "read_VectorTransform",
    "read_index",
    "read_index_binary",
    "serialize_index",
    "serialize_index_binary",
    "write_InvertedLists",
    "write_VectorTransform",
    "write_index",
    "write_index_binary",
]

_FAMILIES = (binary, binary_hash, binary_ivf, inverted_lists, ivf, lsh, ondisk, scalar_quantizer, transforms, wrappers)


def read_index(fname: Source, io_flags: int = 0) -> Any:
    """The index in a file that ``write_index`` wrote, here or in FAISS.

    Args:
        fname: a path, a reader, or an open binary file.
        io_flags: with ``IO_FLAG_MMAP`` or ``IO_FLAG_MMAP_IFC`` the file is mapped: only its headers are read, vectors
            and inverted lists stay in the file, and are copied as far as they are changed; the file itself is never
            written to. With ``IO_FLAG_ONDISK_SAME_DIR`` inverted lists in a file of their own are looked for beside the
            index. The other flags are for indexes that need them.

    Raises:
        OSError: the file, or that of its inverted lists, cannot be opened or read.
        IndexFileError: it is not an index file, or it is damaged. The error has the offset.
        NotImplementedError: the index is of a type that is not built yet.
        TypeError, ValueError: an argument is wrong.
    """
    return _read("read_index", "index", fname, io_flags)


def write_index(idx: Index, fname: Target, io_flags: int = 0) -> None:
    """Writes an index as FAISS does, byte for byte.

    A file is written beside the old one, forced to the disk and renamed: whatever happens, there is the old file or the
    new one.

    Args:
        idx: the index. Vectors stored in float16 or bfloat16 are written in float32, which FAISS's format has.
        fname: a path, a writer, or an open binary file.
        io_flags: none has an effect on the types that are built.

    Raises:
        OSError: the file cannot be written; the old one is as it was.
        RuntimeError: FAISS's format has no form for the index.
        TypeError: an argument is wrong.
    """
    write_record("write_index", "index", _node("write_index", idx, Index), fname)


def serialize_index(index: Index, io_flags: int = 0) -> NDArray[np.uint8]:
    """What ``write_index`` writes, as an array of uint8."""
    return _core.write_faiss_memory("serialize_index", "index", _node("serialize_index", index, Index))


def deserialize_index(data: Any, io_flags: int = 0) -> Any:
    """The index that ``serialize_index`` made bytes of; they are copied.

    Args:
        data: an array of uint8, ``bytes`` or another buffer of bytes.
        io_flags: as for ``read_index``; memory cannot be mapped.

    Raises:
        IndexFileError, NotImplementedError, TypeError: as ``read_index`` does.
    """
    return _deserialize("deserialize_index", "index", data, io_flags)


def read_index_binary(fname: Source, io_flags: int = 0) -> Any:
    """The binary index in a file; arguments and errors are those of ``read_index``."""
    return _read("read_index_binary", "binary", fname, io_flags)


def write_index_binary(idx: IndexBinary, fname: Target) -> None:
    """Writes a binary index; arguments, errors and guarantees are those of ``write_index``."""
    write_record("write_index_binary", "binary", _node("write_index_binary", idx, IndexBinary), fname)


def serialize_index_binary(index: IndexBinary) -> NDArray[np.uint8]:
    """What ``write_index_binary`` writes, as an array of uint8."""
    return _core.write_faiss_memory(
        "serialize_index_binary", "binary", _node("serialize_index_binary", index, IndexBinary)
    )


def deserialize_index_binary(data: Any, io_flags: int = 0) -> Any:
    """The binary index that ``serialize_index_binary`` made bytes of; as ``deserialize_index``."""
    return _deserialize("deserialize_index_binary", "binary", data, io_flags)


def read_VectorTransform(fname: Source) -> Any:
    """The vector transform in a file; errors are those of ``read_index``."""
    return _read("read_VectorTransform", "transform", fname, 0)


def write_VectorTransform(vt: VectorTransform, fname: Target) -> None:
    """Writes a vector transform; errors and guarantees are those of ``write_index``."""
    write_record("write_VectorTransform", "transform", _node("write_VectorTransform", vt, VectorTransform), fname)


def read_InvertedLists(fname: Source, io_flags: int = 0) -> Any:
    """The inverted lists in a file, None if it says that there are none; arguments and errors as for ``read_index``."""
    return _read("read_InvertedLists", "lists", fname, io_flags)


def write_InvertedLists(ils: ArrayInvertedLists | None, fname: Target) -> None:
    """Writes inverted lists; errors and guarantees are those of ``write_index``."""
    write_record("write_InvertedLists", "lists", _node("write_InvertedLists", ils, InvertedLists | None), fname)


def inspect(fname: Source) -> dict[str, Any]:
    """What is in a file, also of types that are not built: nested fields, for arrays their dtype, size and place.

    Args:
        fname: a path, a reader or an open binary file, with an index, a binary index, a transform or inverted lists.

    Raises:
        OSError, IndexFileError: as ``read_index`` does.
    """
    source = MappedFileIOReader(fname) if isinstance(fname, str) else fname
    return contents(read_record("inspect", "any", source, False))


def _node(op: str, value: Any, wanted: Any) -> Any:
    if not isinstance(value, wanted):
        name = getattr(wanted, "__name__", wanted)
        raise TypeError(f"[{op}] The object must be of type {name}. Received {type(value).__name__}.")
    return node_of(value)


def _read(op: str, domain: str, source: Source, io_flags: int) -> Any:
    record = read_record(op, domain, source, _mapped(op, io_flags))
    if io_flags & IO_FLAG_ONDISK_SAME_DIR:
        record.folder = os.path.dirname(str(getattr(source, "name", source)))
    return object_of(record)


def _deserialize(op: str, domain: str, data: Any, io_flags: int) -> Any:
    if _mapped(op, io_flags):
        raise ArgumentError(f"[{op}] IO_FLAG_MMAP needs a file. Received bytes in memory.")
    reader = VectorIOReader()
    reader.data = memory_of(op, data)
    return object_of(read_record(op, domain, reader, False))


def _mapped(op: str, io_flags: int) -> bool:
    if isinstance(io_flags, bool) or not isinstance(io_flags, int):
        raise TypeError(f"[{op}] io_flags must be an int. Received {type(io_flags).__name__}.")
    mapped = io_flags & IO_FLAG_MMAP_IFC != 0 or io_flags & IO_FLAG_MMAP == IO_FLAG_MMAP
    if io_flags & IO_FLAG_SKIP_IVF_DATA and not mapped:
        raise ArgumentError(f"[{op}] IO_FLAG_SKIP_IVF_DATA must come as a part of IO_FLAG_MMAP. Received {io_flags}.")
    return mapped
