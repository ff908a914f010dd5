"""Fixtures of the tests that prove the Metal kernels."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metalfaiss import _core

from .simulator import SCHEDULES, Simulator

sys.path.append(str(Path(__file__).resolve().parent))  # tests import the tools beside them by name


@contextmanager
def _simulated(schedule: str) -> Iterator[Simulator]:
    simulator = Simulator(schedule)
    with simulator.active(_core):
        yield simulator
    simulator.check()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Runs every operation of the test through the simulator, whatever its stream; fails with what it finds."""
    with _simulated("forward") as simulator:
        yield simulator


@pytest.fixture(params=SCHEDULES)
def every_schedule(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """`simulator`, once for each order of threads."""
    with _simulated(request.param) as simulator:
        yield simulator
