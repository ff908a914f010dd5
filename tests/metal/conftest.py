"""Fixtures of the tests that prove the Metal kernels."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metalfaiss import _core

from .cuda_runner import CudaRunner
from .simulator import SCHEDULES, Simulator

sys.path.append(str(Path(__file__).resolve().parent))  # tests import the tools beside them by name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=["simulator", "cuda"], default="simulator", help="what runs the kernels")


@contextmanager
def _simulated(request: pytest.FixtureRequest, schedule: str) -> Iterator[Simulator | CudaRunner]:
    is_cuda = request.config.getoption("--device") == "cuda"
    simulator = CudaRunner() if is_cuda else Simulator(schedule)
    with simulator.active(_core):
        yield simulator
    simulator.check()


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator | CudaRunner]:
    """Runs every operation of the test through the simulator, whatever its stream; fails with what it finds.

    With ``--device cuda`` an NVIDIA GPU takes its place, for tests that do not look into it.
    """
    with _simulated(request, "forward") as simulator:
        yield simulator


@pytest.fixture(params=SCHEDULES)
def every_schedule(request: pytest.FixtureRequest) -> Iterator[Simulator | CudaRunner]:
    """`simulator`, once for each order of threads."""
    if request.config.getoption("--device") == "cuda" and request.param != SCHEDULES[0]:
        pytest.skip("a GPU has its own order")
    with _simulated(request, request.param) as simulator:
        yield simulator
