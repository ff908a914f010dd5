"""benchmarks/bench_faiss.py at a small size: every case runs, stores its figures, and can be chosen."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def bench_faiss(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    harness = importlib.import_module("harness")
    monkeypatch.setattr(harness, "SETTLE", 0)
    monkeypatch.setattr(harness, "matmul_rate", lambda device: 1e11)
    monkeypatch.setattr(harness, "read_bandwidth", lambda device: 1e10)
    module = importlib.import_module("bench_faiss")
    monkeypatch.setattr(module, "QUERIES", 200)
    return module


@pytest.fixture
def run(bench_faiss: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the script with arguments, and returns the stored cases."""
    device, threads = mx.default_device(), faiss.omp_get_max_threads()

    def run(*arguments: str) -> list[dict[str, Any]]:
        sizes = ("--rows", "800", "--rounds", "1", "--out", str(tmp_path))
        monkeypatch.setattr(sys, "argv", ["bench_faiss.py", *sizes, *arguments])
        bench_faiss.main()
        cases: list[dict[str, Any]] = json.loads((tmp_path / "faiss.json").read_text())["cases"]
        return cases

    yield run
    mx.set_default_device(device)
    faiss.omp_set_num_threads(threads)


def test_all_cases(run: Run) -> None:
    cases = run()
    assert len({case["name"] for case in cases}) == len(cases) == 17
    for case in cases:
        assert list(case["seconds"])[:2] == ["native", "faiss"]
        assert min(case["seconds"].values()) > 0
        assert case["notes"].get("recall", 1) >= case["notes"].get("of faiss", 1) - 0.02
    without_floor = [case["name"] for case in cases if case["floor"] is None]
    assert all("file" in name or "threads" in name for name in without_floor)


@pytest.mark.parametrize(
    ("only", "count"), [("K-Means", 2), ("Flat add", 1), ("1 query", 3), ("SQ8 search", 4), ("mmap", 1), ("binary", 2)]
)
def test_chosen_cases(run: Run, only: str, count: int) -> None:
    assert [only.lower() in case["name"].lower() for case in run("--only", only)] == [True] * count


def test_no_case(run: Run) -> None:
    with pytest.raises(SystemExit, match="no case's name contains 'nothing'"):
        run("--only", "nothing")


def test_vectors_from_a_file(run: Run, bench_faiss: ModuleType, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", bench_faiss.clustered(1200, 16, 0))
    assert "800x16" in run("--only", "range", "--data", str(tmp_path / "x.npy"))[0]["name"]


def test_what_a_gpu_has_no_kernel_for_is_left_out(bench_faiss: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases behind it run: one that refuses outside of a contender, one inside, one that works."""
    harness = sys.modules["harness"]

    def refused() -> None:
        raise RuntimeError("[ivf_search] A GPU has no kernel for it: pass stream=mx.cpu. Received a GPU stream.")

    monkeypatch.setattr(sys, "argv", ["bench.py"])
    bench = harness.Benchmark("left", None)
    bench.device = mx.Device(mx.gpu)
    with bench.unless_refused("outside"):
        refused()
    assert bench.case("inside", {"native": refused}) is None
    bench.device = mx.Device(mx.cpu)
    assert bench.case("works", {"native": lambda: None}) is not None
    assert (bench.left_out, [case.name for case in bench.cases]) == (["outside", "inside"], ["works"])
    with pytest.raises(RuntimeError, match="A GPU has no kernel"):
        bench.case("inside", {"native": refused})
