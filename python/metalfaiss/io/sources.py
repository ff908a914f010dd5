"""FAISS's readers: where an index may come from."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss.errors import ArgumentError, file_errors
from metalfaiss.io.records import Record
from metalfaiss.ownership import Owned
from metalfaiss.vectors import UInt8Vector

__all__ = [
    "BufferedIOReader",
    "FileIOReader",
    "IOReader",
    "MappedFileIOReader",
    "PyCallbackIOReader",
    "Source",
    "VectorIOReader",
    "ZeroCopyIOReader",
    "read_record",
]

FLAT_HEADER = 45  # bytes before the vectors of a flat index: they are aligned in memory, and need no copy


class IOReader(Owned):
    """Where an index is read from. Several that were written one after another are read one after another."""

    name = ""

    def read_bytes(self, totsz: int) -> bytes:
        """The next bytes, ``totsz`` or as many as there are.

        Raises:
            OSError: they cannot be read.
        """
        raise NotImplementedError

    def _read(self, op: str, domain: str, mapped: bool) -> Record:
        raise NotImplementedError


Source: TypeAlias = str | os.PathLike[str] | IOReader | BinaryIO


class PyCallbackIOReader(IOReader):
    """Reads by calling ``callback(n)``, which returns at most n bytes, and none at the end.

    Args:
        callback: called with how many bytes are wanted.
        bsz: kept for programs written for FAISS: the most bytes that are asked for at once.
    """

    def __init__(self, callback: Callable[[int], Any], bsz: int = 1 << 20) -> None:
        if not callable(callback):
            raise TypeError(f"[PyCallbackIOReader] callback must be callable. Received {type(callback).__name__}.")
        self._callback = callback
        self._most = max(1, int(bsz))

    def read_bytes(self, totsz: int) -> bytes:
        """``IOReader.read_bytes``."""
        out = b""
        while len(out) < totsz and (part := bytes(self._callback(min(totsz - len(out), self._most)))):
            out += part
        return out

    def _read(self, op: str, domain: str, mapped: bool) -> Record:
        refuse_mapping(op, mapped, type(self).__name__)
        parsed, held = _core.read_faiss_stream(op, domain, lambda n: self._callback(min(n, self._most)))
        return Record(parsed, held, 0, False)


class FileIOReader(IOReader):
    """Reads a file, given by its path or as an open binary file, from its position.

    Args:
        file: the path, or an object with ``read``.
    """

    def __init__(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        self._path = os.fspath(file) if isinstance(file, str | os.PathLike) else None
        self._file = None if isinstance(file, str | os.PathLike) else file
        self._position = 0
        if self._path is not None:
            with file_errors():
                os.stat(self._path)
        self.name = self._path or str(getattr(file, "name", ""))

    def read_bytes(self, totsz: int) -> bytes:
        """``IOReader.read_bytes``."""
        if self._file is not None:
            return bytes(self._file.read(totsz))
        with file_errors(), open(self.name, "rb") as file:
            file.seek(self._position)
            found = file.read(totsz)
        self._position += len(found)
        return found

    def _read(self, op: str, domain: str, mapped: bool) -> Record:
        if self._file is not None:
            return PyCallbackIOReader(self._file.read)._read(op, domain, mapped)
        with file_errors(self.name):
            return self._read_file(op, domain, mapped)

    def _read_file(self, op: str, domain: str, mapped: bool) -> Record:
        fd = os.open(self.name, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return PyCallbackIOReader(lambda n: os.read(fd, n))._read(op, domain, mapped)
            held = (
                _core.FileBytes.map(fd, self._position)
                if mapped
                else _core.FileBytes.read(fd, self._position, FLAT_HEADER)
            )
        finally:
            os.close(fd)
        parsed, end = _core.read_faiss_bytes(op, domain, held, 0)
        self._position += end
        return Record(parsed, held, 0, mapped)


class MappedFileIOReader(FileIOReader):
    """Maps a file: opening it reads nothing but its headers, and vectors stay in the file.

    Args:
        file: the path.
    """

    def _read(self, op: str, domain: str, mapped: bool) -> Record:
        return super()._read(op, domain, True)


class VectorIOReader(IOReader):
    """Reads bytes in memory.

    Attributes:
        data: the bytes, a vector for ``copy_array_to_vector``, or any array of uint8.
        rp: where the next read begins.
    """

    def __init__(self) -> None:
        self.data: Any = UInt8Vector()
        self.rp = 0

    def read_bytes(self, totsz: int) -> bytes:
        """``IOReader.read_bytes``."""
        found = self._content("read_bytes")[self.rp : self.rp + totsz].tobytes()
        self.rp += len(found)
        return found

    def _content(self, op: str) -> NDArray[np.uint8]:
        return self.data.data() if isinstance(self.data, UInt8Vector) else memory_of(op, self.data)

    def _read(self, op: str, domain: str, mapped: bool) -> Record:
        refuse_mapping(op, mapped, type(self).__name__)
        held = _core.FileBytes.copy(self._content(op)[self.rp :])
        parsed, end = _core.read_faiss_bytes(op, domain, held, 0)
        self.rp += end
        return Record(parsed, held, 0, False)


class ZeroCopyIOReader(IOReader):
    """Reads bytes in memory without copying them: the index borrows them, and they must not change while it lives.

    Args:
        data: contiguous bytes: an array of uint8, ``bytes``, a memory map, ...
        size: how many of them; all by default.
    """

    def __init__(self, data: Any, size: int | None = None) -> None:
        self._content = memory_of("ZeroCopyIOReader", data)[:size]
        self._bytes = _core.FileBytes.borrow(self._content)
        self._position = 0

    def read_bytes(self, totsz: int) -> bytes:
        """``IOReader.read_bytes``."""
        found = self._content[self._position : self._position + totsz].tobytes()
        self._position += len(found)
        return found

    def reset(self) -> None:
        """Reads from the beginning again."""
        self._position = 0

    def _read(self, op: str, domain: str, mapped: bool) -> Record:
        start = self._position
        parsed, end = _core.read_faiss_bytes(op, domain, self._bytes, start)
        self._position += end
        return Record(parsed, self._bytes, start, True)


class BufferedIOReader(IOReader):
    """Reads from another reader. Kept for programs written for FAISS: no reader here needs a buffer.

    Args:
        reader: where to read from.
        bsz: the size of FAISS's buffer.
    """

    def __init__(self, reader: IOReader, bsz: int = 1 << 20) -> None:
        if not isinstance(reader, IOReader):
            raise TypeError(f"[BufferedIOReader] reader must be an IOReader. Received {type(reader).__name__}.")
        self.reader = reader
        self.bsz = bsz
        self.name = reader.name

    def read_bytes(self, totsz: int) -> bytes:
        """``IOReader.read_bytes``."""
        return self.reader.read_bytes(totsz)

    def _read(self, op: str, domain: str, mapped: bool) -> Record:
        return self.reader._read(op, domain, mapped)


def read_record(op: str, domain: str, source: Source, mapped: bool) -> Record:
    """Parses what stands first in the source: a path, a reader, or an open binary file."""
    if isinstance(source, IOReader):
        return source._read(op, domain, mapped)
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        return FileIOReader(source)._read(op, domain, mapped)
    raise TypeError(f"[{op}] The source must be a path, a reader or a binary file. Received {type(source).__name__}.")


def refuse_mapping(op: str, mapped: bool, name: str) -> None:
    if mapped:
        raise ArgumentError(f"[{op}] IO_FLAG_MMAP needs a file, by its path or a FileIOReader of it. Received {name}.")


def memory_of(op: str, data: Any) -> NDArray[np.uint8]:
    """The bytes of any contiguous buffer.

    Raises:
        TypeError: it has none, or they are not single bytes.
    """
    try:
        view = memoryview(data)
        if view.itemsize != 1 or not view.c_contiguous:
            raise TypeError
    except TypeError:
        received = f"{type(data).__name__} of {data.dtype}" if isinstance(data, np.ndarray) else type(data).__name__
        raise TypeError(f"[{op}] The data must be contiguous bytes (uint8). Received {received}.") from None
    return np.frombuffer(view, np.uint8)
