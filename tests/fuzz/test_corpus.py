"""What the fuzzer found worth keeping, replayed: natively under sanitizers, and through the Python functions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import metalfaiss
from metalfaiss import _core

FOLDER = Path(__file__).parent
CORPUS = sorted((FOLDER / "corpus").iterdir())
SOURCES = FOLDER.parent.parent / "csrc"


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs g++ and its sanitizers")
def test_natively(tmp_path: Path) -> None:
    program = tmp_path / "replay"
    sources = [FOLDER / "faiss_file.cpp", *sorted((SOURCES / "index" / "faiss_file").glob("*.cpp"))]
    flags = [
        "-std=c++20",
        "-O0",
        "-DREPLAY",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-I{SOURCES}",
    ]
    subprocess.run(["g++", *flags, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run([program, FOLDER / "corpus"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(CORPUS)} files\n"


def test_through_python() -> None:
    accepted = 0
    for path in CORPUS:
        try:
            metalfaiss.io.inspect(str(path))
            accepted += 1
            index = metalfaiss.read_index(str(path))
            if index is not None:
                metalfaiss.serialize_index(index)
        except (metalfaiss.IndexFileError, NotImplementedError, FileNotFoundError):
            pass  # the last: lists in a file of their own, which is not there
    assert accepted > 90


def test_every_format_has_a_seed() -> None:
    """One file of faiss-cpu's for each fourcc that it writes, but for three that its Python does not make easily."""
    seeds = {path.read_bytes()[:4].decode("latin-1") for path in CORPUS}
    written = {fourcc for fourcc, _, _, written, known, _ in _core.faiss_formats() if written and known}
    assert written - seeds <= {"IHN2", "IxRP", "INSp"}
