"""FAISS's readers and writers, streams among them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest
from tests.files.oracle import content, made, vectors

import metalfaiss


@pytest.fixture
def two() -> list[Any]:
    return [made("Flat"), made("IDMap2,Flat")]


@pytest.fixture
def path(tmp_path: Path, two: list[Any]) -> str:
    """A file with two indexes, one after the other."""
    file = tmp_path / "two.faiss"
    file.write_bytes(b"".join(content(index) for index in two))
    return str(file)


def check(reader: Any, two: list[Any]) -> None:
    for theirs in two:
        ours = metalfaiss.read_index(reader)
        assert ours.ntotal == theirs.ntotal
        np.testing.assert_array_equal(ours.search(vectors(5, 2), 3)[1], theirs.search(vectors(5, 2), 3)[1])


def test_file(path: str, two: list[Any]) -> None:
    check(metalfaiss.FileIOReader(path), two)
    check(metalfaiss.MappedFileIOReader(path), two)
    check(metalfaiss.BufferedIOReader(metalfaiss.FileIOReader(path)), two)
    with open(path, "rb") as file:
        check(metalfaiss.FileIOReader(file), two)
        assert not file.read()
        file.seek(0)
        check(file, two)


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_callback(path: str, two: list[Any], most: int) -> None:
    stream = io.BytesIO(Path(path).read_bytes())
    check(metalfaiss.PyCallbackIOReader(stream.read, most), two)
    assert not stream.read()


def test_a_callback_that_gives_less(path: str, two: list[Any]) -> None:
    stream = io.BytesIO(Path(path).read_bytes())
    check(metalfaiss.PyCallbackIOReader(lambda n: stream.read(min(n, 3))), two)


def test_a_callback_that_fails() -> None:
    def broken(n: int) -> bytes:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        metalfaiss.read_index(metalfaiss.PyCallbackIOReader(broken))
    with pytest.raises(ValueError, match="at most as many bytes"):
        metalfaiss.read_index(metalfaiss.PyCallbackIOReader(lambda n: bytes(n + 1)))
    with pytest.raises(TypeError, match=r"buffer|bytes"):
        metalfaiss.read_index(metalfaiss.PyCallbackIOReader(lambda n: 3))
    with pytest.raises(metalfaiss.IndexFileError, match="more bytes"):
        metalfaiss.read_index(metalfaiss.PyCallbackIOReader(lambda n: b""))


def test_memory(path: str, two: list[Any]) -> None:
    data = np.fromfile(path, dtype=np.uint8)
    reader = metalfaiss.VectorIOReader()
    metalfaiss.copy_array_to_vector(data, reader.data)
    check(reader, two)
    assert reader.rp == data.size
    reader.data, reader.rp = data, 0
    check(reader, two)
    zero_copy = metalfaiss.ZeroCopyIOReader(data, data.size)
    check(zero_copy, two)
    zero_copy.reset()
    check(zero_copy, two)


@pytest.mark.skipif(mx.default_device() == mx.gpu, reason="MLX copies what lies in the memory of the host")
def test_zero_copy_borrows() -> None:
    data = np.frombuffer(content(made("Flat")), dtype=np.uint8).copy()
    borrowing = metalfaiss.read_index(metalfaiss.ZeroCopyIOReader(data))
    copying = metalfaiss.deserialize_index(data)
    data[45:49] = np.float32([77]).view(np.uint8)
    assert borrowing.reconstruct(0)[0] == 77
    assert copying.reconstruct(0)[0] != 77
    del data
    assert borrowing.reconstruct(0)[0] == 77


def test_writers(tmp_path: Path, two: list[Any]) -> None:
    wanted = b"".join(content(index) for index in two)
    ours = [metalfaiss.deserialize_index(content(index)) for index in two]
    parts: list[bytes] = []
    stream, memory, path = io.BytesIO(), metalfaiss.VectorIOWriter(), tmp_path / "w.faiss"
    writers = [
        metalfaiss.PyCallbackIOWriter(parts.append),
        metalfaiss.FileIOWriter(stream),
        metalfaiss.FileIOWriter(str(path)),
        metalfaiss.BufferedIOWriter(memory),
    ]
    for writer in writers:
        for index in ours:
            metalfaiss.write_index(index, writer)
    assert b"".join(parts) == stream.getvalue() == path.read_bytes() == wanted
    assert metalfaiss.vector_to_array(memory.data).tobytes() == wanted


def test_path_objects(tmp_path: Path) -> None:
    index = metalfaiss.deserialize_index(content(made("Flat")))
    metalfaiss.write_index(index, tmp_path / "a")
    assert metalfaiss.read_index(tmp_path / "a").ntotal == 300
    assert faiss.read_index(str(tmp_path / "a")).ntotal == 300


def test_wrong_arguments(tmp_path: Path) -> None:
    index = metalfaiss.IndexFlatL2(4)
    with pytest.raises(TypeError, match=r"\[read_index\] The source must be a path, a reader or a binary file"):
        metalfaiss.read_index(3)
    with pytest.raises(TypeError, match=r"\[write_index\] The target must be a path, a writer or a binary file"):
        metalfaiss.write_index(index, 3)
    for write, wrong in ((metalfaiss.write_index, None), (metalfaiss.write_index_binary, metalfaiss.IndexFlatL2(3))):
        with pytest.raises(TypeError, match="The object must be of type Index"):
            write(wrong, "never.faiss")
    with pytest.raises(TypeError, match="io_flags must be an int"):
        metalfaiss.read_index("a", "b")
    with pytest.raises(FileNotFoundError):
        metalfaiss.read_index(str(tmp_path / "none"))
    with pytest.raises(TypeError, match=r"\[deserialize_index\] The data must be contiguous bytes"):
        metalfaiss.deserialize_index(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="contiguous"):
        metalfaiss.deserialize_index(np.zeros(8, np.uint8)[::2])
    with pytest.raises(ValueError, match="IO_FLAG_MMAP needs a file"):
        metalfaiss.deserialize_index(b"", metalfaiss.IO_FLAG_MMAP)
    with pytest.raises(ValueError, match=r"IO_FLAG_MMAP needs a file.* Received PyCallbackIOReader"):
        metalfaiss.read_index(io.BytesIO(b""), metalfaiss.IO_FLAG_MMAP)
    for cls in ("PyCallbackIOReader", "PyCallbackIOWriter", "BufferedIOReader", "BufferedIOWriter"):
        with pytest.raises(TypeError, match=cls):
            getattr(metalfaiss, cls)(3)


def test_flags_are_those_of_faiss() -> None:
    for name in metalfaiss.__all__:
        if name.startswith("IO_FLAG"):
            assert getattr(metalfaiss, name) == getattr(faiss, name)
    with pytest.raises(ValueError, match="IO_FLAG_SKIP_IVF_DATA"):
        metalfaiss.read_index("a", metalfaiss.IO_FLAG_SKIP_IVF_DATA)


def test_bytes_of_the_programs_own_around_an_index(tmp_path: Path) -> None:
    """A header before an index and text behind it, through every writer and reader."""
    index = metalfaiss.IndexFlatL2(4)
    index.add(np.eye(4, dtype=np.float32))
    path, other, memory = tmp_path / "index", tmp_path / "other", io.BytesIO()
    with open(other, "wb") as file:
        writers = [
            metalfaiss.FileIOWriter(path),
            metalfaiss.FileIOWriter(file),
            metalfaiss.VectorIOWriter(),
            metalfaiss.BufferedIOWriter(metalfaiss.PyCallbackIOWriter(memory.write)),
        ]
        for writer in writers:
            assert writer.write_bytes(b"header") == 6
            metalfaiss.write_index(index, writer)
            writer.write_bytes(b"text")
    vector, content = metalfaiss.VectorIOReader(), writers[2].data.data()  # type: ignore[attr-defined]
    metalfaiss.copy_array_to_vector(content, vector.data)
    memory.seek(0)
    with open(other, "rb") as file:
        for reader in (
            metalfaiss.FileIOReader(path),
            metalfaiss.FileIOReader(file),
            metalfaiss.BufferedIOReader(metalfaiss.PyCallbackIOReader(memory.read, 4)),
            vector,
            metalfaiss.ZeroCopyIOReader(content),
        ):
            assert reader.read_bytes(6) == b"header"
            assert metalfaiss.read_index(reader).ntotal == 4
            assert reader.read_bytes(100) == b"text"
            assert reader.read_bytes(1) == b""
    theirs = faiss.VectorIOWriter()
    theirs.write_bytes(b"header")
    faiss.write_index(faiss.deserialize_index(metalfaiss.serialize_index(index)), theirs)
    theirs.write_bytes(b"text")
    assert faiss.vector_to_array(theirs.data).tobytes() == content.tobytes() == path.read_bytes()
    for base in (metalfaiss.IOReader().read_bytes, metalfaiss.IOWriter().write_bytes):
        with pytest.raises(NotImplementedError):
            base(1)  # type: ignore[arg-type]
