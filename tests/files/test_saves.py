"""A save replaces the old file as a whole, or leaves it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.files.oracle import content, made, vectors

import metalfaiss
from metalfaiss import _core


@pytest.fixture
def index() -> Any:
    return metalfaiss.deserialize_index(content(made("Flat")))


def test_it_replaces(tmp_path: Path, index: Any) -> None:
    path = tmp_path / "a.faiss"
    path.write_bytes(b"old")
    path.chmod(0o640)
    before = path.stat().st_ino
    metalfaiss.write_index(index, str(path))
    assert path.read_bytes() == content(made("Flat"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before
    assert os.listdir(tmp_path) == ["a.faiss"]


def test_it_reaches_the_disk(tmp_path: Path, index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content before the name changes, then the folder, which holds the name."""
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (fsync(fd), steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (replace(a, b), steps.append("replace")))
    metalfaiss.write_index(index, str(tmp_path / "a.faiss"))
    assert steps == ["file", "replace", "folder"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, index: Any, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.faiss"
    path.write_bytes(b"old")

    def half(op: str, domain: str, node: Any, fd: int) -> None:
        os.write(fd, b"half")
        raise error

    monkeypatch.setattr(_core, "write_faiss_fd", half)
    with pytest.raises(type(error)):
        metalfaiss.write_index(index, str(path))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.faiss"]


def test_errors_of_the_system(tmp_path: Path, index: Any) -> None:
    with pytest.raises(FileNotFoundError):
        metalfaiss.write_index(index, str(tmp_path / "none" / "a"))
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="No space left") as caught:
            metalfaiss.write_index(index, "/dev/full")
        assert caught.value.errno == 28


def test_a_link_stays_a_link(tmp_path: Path, index: Any) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    metalfaiss.write_index(index, str(link))
    assert link.is_symlink()
    assert target.read_bytes() == content(made("Flat"))


def test_a_pipe(tmp_path: Path, index: Any) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=metalfaiss.write_index, args=(index, str(path)))
    writer.start()
    back = metalfaiss.read_index(str(path))
    writer.join()
    assert back.ntotal == index.ntotal
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_onto_the_file_it_is_mapped_from(tmp_path: Path) -> None:
    """The old file lives on for those that have it mapped."""
    path = str(tmp_path / "a.faiss")
    Path(path).write_bytes(content(made("Flat")))
    index = metalfaiss.read_index(path, metalfaiss.IO_FLAG_MMAP)
    index.add(vectors(10, 9))
    metalfaiss.write_index(index, path)
    assert metalfaiss.read_index(path).ntotal == 310
    assert (index.search(vectors(300), 1)[1][:, 0] == range(300)).all()


def test_memory_that_was_given_back(tmp_path: Path) -> None:
    """Large files and lists are read into memory of indexes that are gone, never of one that lives."""
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((n, 256), dtype=np.float32) for n in (9000, 10_000)]
    paths = [str(tmp_path / name) for name in "ab"]
    for x, path in zip(xs, paths, strict=True):
        made = metalfaiss.index_factory(256, "IVF4,Flat")
        made.train(x[:200])
        made.add(x)
        metalfaiss.write_index(made, path)
    del made
    held = [metalfaiss.read_index(paths[i]) for i in (0, 1, 1)]
    for i in (1, 0, 1, 0, 0):
        held[i] = None
        held[i] = metalfaiss.read_index(paths[i])
    for index, which in zip(held, (0, 1, 1), strict=True):
        index.make_direct_map()
        np.testing.assert_array_equal(index.reconstruct_n(0, index.ntotal), xs[which])
