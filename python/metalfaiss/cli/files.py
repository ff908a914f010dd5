"""Files of vectors, read and written in blocks: npy, fvecs, bvecs, ivecs, HDF5, safetensors."""

from __future__ import annotations

import importlib
import json
import math
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.contrib.vecs_io import bvecs_mmap, fvecs_mmap, ivecs_mmap

__all__ = ["FORMATS", "VectorFile", "create_vectors", "exactly", "open_vectors", "replaced"]

_VECS = {".fvecs": (fvecs_mmap, "<f4"), ".bvecs": (bvecs_mmap, "u1"), ".ivecs": (ivecs_mmap, "<i4")}
_HDF5 = {".h5", ".hdf5"}
_SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1"}
FORMATS = ".npy, .fvecs, .bvecs, .ivecs, .h5, .hdf5, .safetensors"


class VectorFile:
    """Vectors (n, d) of which blocks are read when they are asked for.

    Args:
        path: the file.
        array: what gives NumPy arrays for slices of rows.
    """

    def __init__(self, path: Path, array: Any) -> None:
        if len(array.shape) != 2:
            raise ValueError(f"[{path}] The file must hold vectors of shape (n, d). Received {tuple(array.shape)}.")
        self.path, self._array = path, array
        self.n, self.d = (int(size) for size in array.shape)
        self.dtype = np.dtype(array.dtype)
        if self.dtype.kind not in "fiub":
            raise ValueError(f"[{path}] The file must hold real numbers. Received {self.dtype}.")

    def rows(self, begin: int, end: int) -> NDArray[Any]:
        """Rows ``begin`` to ``end - 1``."""
        return np.array(self._array[begin:end])

    def sample(self, count: int, seed: int) -> NDArray[Any]:
        """``count`` different rows, at random and in their order."""
        if count >= self.n:
            return self.rows(0, self.n)
        chosen = np.sort(np.random.default_rng(seed).choice(self.n, count, replace=False))
        return np.array(self._array[chosen])

    def blocks(self, size: int, begin: int = 0) -> Iterator[NDArray[Any]]:
        """All rows from ``begin``, at most ``size`` at a time."""
        for i in range(begin, self.n, size):
            yield self.rows(i, min(i + size, self.n))


def open_vectors(path: Path, dataset: str | None = None) -> VectorFile:
    """Opens a file, by its suffix.

    Args:
        path: the file.
        dataset: which array of an HDF5 or safetensors file; needed where it holds several of two dimensions.

    Raises:
        OSError: it cannot be read.
        ValueError: it is of no known form, or the array must be named.
    """
    suffix = path.suffix
    if suffix == ".npy":
        return VectorFile(path, _npy(path))
    if suffix in _VECS:
        return VectorFile(path, _VECS[suffix][0](path))
    if suffix in _HDF5:
        file = _h5py().File(path, "r")
        return VectorFile(path, _named(path, {k: v for k, v in file.items() if hasattr(v, "shape")}, dataset))
    if suffix == ".safetensors":
        return VectorFile(path, _named(path, _safetensors(path), dataset))
    raise ValueError(f"[{path}] The file must be one of {FORMATS}. Received suffix {suffix!r}.")


def _npy(path: Path) -> Any:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"[{path}] The file must be a whole array of numbers in NumPy's format. {error}.") from error


def _named(path: Path, arrays: dict[str, Any], name: str | None) -> Any:
    if name is None:
        matrices = [key for key, array in arrays.items() if len(array.shape) == 2]
        if len(matrices) != 1:
            raise ValueError(f"[{path}] --dataset must name an array of the file. It holds {', '.join(arrays)}.")
        name = matrices[0]
    if name not in arrays:
        raise ValueError(f"[{path}] --dataset must be one of {', '.join(arrays)}. Received {name}.")
    return arrays[name]


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of NumPy's dtypes, memory-mapped."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > size - 8:
            raise ValueError(f"[{path}] The file must begin with the length of its header. Received {length}.")
        header = json.loads(file.read(length))
    try:
        return dict(_tensors(path, header, 8 + length, size))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"[{path}] The header must be one of safetensors. Received {header}.") from error


def _tensors(path: Path, header: Any, start: int, size: int) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, tensor in header.items():
        if name != "__metadata__" and tensor["dtype"] in _SAFETENSORS:
            begin, end = tensor["data_offsets"]
            dtype = np.dtype(_SAFETENSORS[tensor["dtype"]])
            count = math.prod(tensor["shape"])
            if not 0 <= begin <= end <= size - start or end - begin != count * dtype.itemsize:
                raise ValueError(f"[{path}] Tensor {name} must lie within the file. Received {tensor}.")
            shape = tuple(tensor["shape"])
            yield name, np.memmap(path, dtype, "r", start + begin, shape) if count else np.empty(shape, dtype)


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ValueError("[HDF5] h5py must be installed. Run: pip install 'metalfaiss[cli]'") from error


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when all went well, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def create_vectors(path: Path, n: int, d: int, dtype: Any) -> Iterator[Callable[[NDArray[Any]], None]]:
    """A function that appends rows, of which there must be n in the end, to a new file, of a form by its suffix.

    fvecs, bvecs and ivecs have their own dtypes; the others have ``dtype``.

    Raises:
        OSError: the file cannot be written.
        ValueError: the suffix is of no known form, or it cannot store the dtype or (raised by the function) a value.
    """
    suffix, kind = path.suffix, np.dtype(dtype)
    if suffix in _HDF5:
        with replaced(path) as temporary, _h5py().File(temporary, "w") as file:
            yield _into(file.create_dataset("vectors", (n, d), dtype=kind))
        return
    if suffix not in {".npy", ".safetensors", *_VECS}:
        raise ValueError(f"[{path}] The file must be one of {FORMATS}. Received suffix {suffix!r}.")
    with replaced(path) as temporary, open(temporary, "wb") as file:
        if suffix in _VECS:
            yield _vecs_rows(path, file, d, _VECS[suffix][1])
            return
        if suffix == ".npy":
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (n, d)}
            np.lib.format.write_array_header_1_0(file, header)
        else:
            _write_safetensors_header(path, file, n, d, kind)
        yield lambda rows: np.ascontiguousarray(rows, dtype=kind).tofile(file)


def _into(array: Any) -> Callable[[NDArray[Any]], None]:
    at = 0

    def append(rows: NDArray[Any]) -> None:
        nonlocal at
        array[at : at + len(rows)] = rows
        at += len(rows)

    return append


def exactly(rows: NDArray[Any], dtype: Any, what: Any) -> NDArray[Any]:
    """Rows in another dtype, which must hold every value of them.

    Raises:
        ValueError: it does not.
    """
    with np.errstate(invalid="ignore"):
        cast = np.ascontiguousarray(rows, dtype=dtype)
    if cast.dtype != rows.dtype and not np.array_equal(cast, rows):
        raise ValueError(f"[{what}] Values must be of {np.dtype(dtype)}. Received others, of {rows.dtype}.")
    return cast


def _vecs_rows(path: Path, file: Any, d: int, dtype: str) -> Callable[[NDArray[Any]], None]:
    def append(rows: NDArray[Any]) -> None:
        out = np.empty((len(rows), 4 + d * np.dtype(dtype).itemsize), dtype=np.uint8)
        out[:, :4] = np.frombuffer(np.array(d, dtype="<i4").tobytes(), dtype=np.uint8)
        rounded = rows.astype(dtype) if rows.dtype.kind == np.dtype(dtype).kind == "f" else exactly(rows, dtype, path)
        out[:, 4:] = np.ascontiguousarray(rounded).view(np.uint8)
        out.tofile(file)

    return append


def _write_safetensors_header(path: Path, file: Any, n: int, d: int, dtype: np.dtype[Any]) -> None:
    names = {np.dtype(numpy): name for name, numpy in _SAFETENSORS.items()}
    if dtype not in names:
        raise ValueError(f"[{path}] safetensors must hold one of {', '.join(_SAFETENSORS)}. Received {dtype}.")
    tensor = {"dtype": names[dtype], "shape": [n, d], "data_offsets": [0, n * d * dtype.itemsize]}
    header = json.dumps({"vectors": tensor}).encode()
    header += b" " * (-len(header) % 8)
    file.write(struct.pack("<Q", len(header)) + header)
