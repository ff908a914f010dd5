"""What the fuzzer found worth keeping, replayed: natively under sanitizers, and through the Python functions."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metalfaiss
from metalfaiss import _core

FOLDER = Path(__file__).parent
CORPUS = sorted((FOLDER / "corpus").iterdir())
SOURCES = FOLDER.parent.parent / "csrc"


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs g++ and its sanitizers")
def test_natively(tmp_path: Path) -> None:
    program = tmp_path / "replay"
    sources = [FOLDER / "faiss_file.cpp", SOURCES / "cpu" / "parallel.cpp"]
    sources += [*(SOURCES / "index" / "faiss_file").glob("*.cpp"), *(SOURCES / "index").glob("hash_*.cpp")]
    flags = [
        "-std=c++20",
        "-O0",
        "-DREPLAY",
        "-pthread",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-I{SOURCES}",
    ]
    subprocess.run(["g++", *flags, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run([program, FOLDER / "corpus"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(CORPUS)} files\n"


def used(index: Any, binary: bool) -> None:
    """What a file holds may be refused, and must not be trusted."""
    x = np.zeros((2, index.d // 8), np.uint8) if binary else np.zeros((2, index.d), np.float32)
    for call in (
        lambda: index.search(x, 5),
        lambda: index.range_search(x, 9),
        lambda: index.reconstruct_n(0, min(index.ntotal, 9)),
        lambda: index.add(x),
        lambda: index.remove_ids(np.array([0, 101])),
        lambda: index.search(x, 5),
    ):
        with contextlib.suppress(RuntimeError, ValueError):
            call()


def test_through_python() -> None:
    accepted = 0
    for path in CORPUS:
        try:
            metalfaiss.io.inspect(str(path))
            accepted += 1
            binary = path.read_bytes()[:2] == b"IB"
            index = (metalfaiss.read_index_binary if binary else metalfaiss.read_index)(str(path))
            if index is not None:
                (metalfaiss.serialize_index_binary if binary else metalfaiss.serialize_index)(index)
                used(index, binary)
        except (metalfaiss.IndexFileError, NotImplementedError, FileNotFoundError):
            pass  # the last: lists in a file of their own, which is not there
    assert accepted > 90


def test_every_format_has_a_seed() -> None:
    """One file of faiss-cpu's for each fourcc that it writes, but for three that its Python does not make easily."""
    seeds = {path.read_bytes()[:4].decode("latin-1") for path in CORPUS}
    written = {fourcc for fourcc, _, _, written, known, _ in _core.faiss_formats() if written and known}
    assert written - seeds <= {"IHN2", "IxRP", "INSp"}
