"""FAISS's writers: where an index may go. A file is replaced as a whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss.errors import file_errors
from metalfaiss.io.records import Node
from metalfaiss.ownership import Owned
from metalfaiss.vectors import UInt8Vector

__all__ = [
    "BufferedIOWriter",
    "FileIOWriter",
    "IOWriter",
    "PyCallbackIOWriter",
    "Target",
    "VectorIOWriter",
    "write_record",
]


class IOWriter(Owned):
    """Where an index is written to. Several may be written one after another."""

    name = ""

    def write_bytes(self, b: bytes) -> int:
        """Writes bytes behind what was written before, and returns how many.

        Raises:
            OSError: they cannot be written.
        """
        raise NotImplementedError

    def _write(self, op: str, domain: str, node: Node) -> None:
        raise NotImplementedError


Target: TypeAlias = str | os.PathLike[str] | IOWriter | BinaryIO


class PyCallbackIOWriter(IOWriter):
    """Writes by calling ``callback(b)`` with bytes.

    Args:
        callback: called with at most 1 MB at once; what it returns is not looked at.
        bsz: kept for programs written for FAISS.
    """

    def __init__(self, callback: Callable[[bytes], Any], bsz: int = 1 << 20) -> None:
        if not callable(callback):
            raise TypeError(f"[PyCallbackIOWriter] callback must be callable. Received {type(callback).__name__}.")
        self._callback = callback

    def write_bytes(self, b: bytes) -> int:
        """``IOWriter.write_bytes``."""
        self._callback(bytes(b))
        return len(b)

    def _write(self, op: str, domain: str, node: Node) -> None:
        _core.write_faiss_callback(op, domain, node, self._callback)


class FileIOWriter(IOWriter):
    """Writes a file, given by its path or as an open binary file.

    What is written to a path goes to a temporary file in the same folder, which replaces the old file once it is
    complete and on the disk: whatever happens, there is the old file or the new one. A second index written by the
    same writer goes behind the first, in the same manner.

    Args:
        file: the path, or an object with ``write``.
    """

    def __init__(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        self._file = None if isinstance(file, str | os.PathLike) else file
        self.name = os.fspath(file) if isinstance(file, str | os.PathLike) else str(getattr(file, "name", ""))
        self._written = 0
        if self._file is None:
            with file_errors():
                os.stat(os.path.dirname(self.name) or os.curdir)

    def write_bytes(self, b: bytes) -> int:
        """``IOWriter.write_bytes``: the file is replaced, as by an index."""
        if self._file is not None:
            self._file.write(b)
        else:
            self._written = replace_file(self.name, self._written, lambda fd: _write_all(fd, b))
        return len(b)

    def _write(self, op: str, domain: str, node: Node) -> None:
        if self._file is not None:
            PyCallbackIOWriter(self._file.write)._write(op, domain, node)
            return
        with file_errors():
            self._written = replace_file(
                self.name, self._written, lambda fd: _core.write_faiss_fd(op, domain, node, fd)
            )


class VectorIOWriter(IOWriter):
    """Writes to memory.

    Attributes:
        data: what was written, a vector for ``vector_to_array``.
    """

    def __init__(self) -> None:
        self.data = UInt8Vector()

    def write_bytes(self, b: bytes) -> int:
        """``IOWriter.write_bytes``."""
        self._append(np.frombuffer(b, dtype=np.uint8))
        return len(b)

    def _append(self, written: NDArray[np.uint8]) -> None:
        self.data._set(written if self.data.empty() else np.concatenate([self.data.data(), written]))

    def _write(self, op: str, domain: str, node: Node) -> None:
        self._append(_core.write_faiss_memory(op, domain, node))


class BufferedIOWriter(IOWriter):
    """Writes to another writer. Kept for programs written for FAISS: no writer here needs a buffer.

    Args:
        writer: where to write to.
        bsz: the size of FAISS's buffer.
    """

    def __init__(self, writer: IOWriter, bsz: int = 1 << 20) -> None:
        if not isinstance(writer, IOWriter):
            raise TypeError(f"[BufferedIOWriter] writer must be an IOWriter. Received {type(writer).__name__}.")
        self.writer = writer
        self.bsz = bsz
        self.name = writer.name

    def write_bytes(self, b: bytes) -> int:
        """``IOWriter.write_bytes``."""
        return self.writer.write_bytes(b)

    def _write(self, op: str, domain: str, node: Node) -> None:
        self.writer._write(op, domain, node)


def write_record(op: str, domain: str, node: Node, target: Target) -> None:
    """Writes to a path, a writer, or an open binary file."""
    if isinstance(target, IOWriter):
        target._write(op, domain, node)
    elif isinstance(target, str | os.PathLike) or hasattr(target, "write"):
        FileIOWriter(target)._write(op, domain, node)
    else:
        raise TypeError(
            f"[{op}] The target must be a path, a writer or a binary file. Received {type(target).__name__}."
        )


def replace_file(path: str, keep: int, write: Callable[[int], None]) -> int:
    """Replaces a file by its first ``keep`` bytes and what ``write(fd)`` writes; returns how long it then is."""
    target = os.path.realpath(path)
    try:
        old = os.stat(target)
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):  # a pipe or a device cannot be replaced
        return _write_to(os.open(target, os.O_WRONLY), write)
    temporary = f"{target}.{secrets.token_hex(6)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    with file_errors():
        fd = os.open(temporary, flags, 0o666 if old is None else stat.S_IMODE(old.st_mode))
    try:
        if keep:
            _copy_head(target, keep, fd)
        length = _write_to(fd, write)
        with _freed_later(target):
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(os.path.dirname(target))
    return length


def _write_to(fd: int, write: Callable[[int], None]) -> int:
    try:
        write(fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return 0
        os.fsync(fd)
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


@contextlib.contextmanager
def _freed_later(path: str) -> Iterator[None]:
    """Has a thread free the blocks of the file that is replaced meanwhile: 37 ms for 130 MB."""
    try:
        old = os.open(path, os.O_RDONLY)
    except OSError:
        old = None
    try:
        yield
    finally:
        if old is not None:
            try:
                threading.Thread(target=os.close, args=(old,)).start()
            except RuntimeError:  # no more threads, or the interpreter ends
                os.close(old)


def _write_all(fd: int, content: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(content)


def _copy_head(path: str, size: int, fd: int) -> None:
    with open(path, "rb") as file:
        while size > 0 and (part := file.read(min(size, 1 << 20))):
            _write_all(fd, part)
            size -= len(part)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
