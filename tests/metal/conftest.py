"""Fixtures of the tests that prove the Metal kernels."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from metalfaiss import _core

from .cuda_runner import CudaRunner
from .simulator import SCHEDULES, Simulator


@contextmanager
def _simulated(request: pytest.FixtureRequest, schedule: str) -> Iterator[Simulator | CudaRunner]:
    is_cuda = request.config.getoption("--kernels") == "cuda"
    simulator = CudaRunner() if is_cuda else Simulator(schedule)
    with simulator.active(_core):
        yield simulator
    simulator.check()


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator | CudaRunner]:
    """Runs every operation of the test through the simulator, whatever its stream; fails with what it finds.

    With ``--kernels cuda`` an NVIDIA GPU takes its place, for tests that do not look into it.
    """
    with _simulated(request, "forward") as simulator:
        yield simulator


@pytest.fixture(params=SCHEDULES)
def every_schedule(request: pytest.FixtureRequest) -> Iterator[Simulator | CudaRunner]:
    """`simulator`, once for each order of threads."""
    if request.config.getoption("--kernels") == "cuda" and request.param != SCHEDULES[0]:
        pytest.skip("a GPU has its own order")
    with _simulated(request, request.param) as simulator:
        yield simulator
