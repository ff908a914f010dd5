"""Fixtures of the tests that prove the Metal kernels."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .simulator import SCHEDULES, Simulator, simulated

sys.path.append(str(Path(__file__).resolve().parent))  # tests import the tools beside them by name


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Runs every operation of the test through the simulator, whatever its stream; fails with what it finds."""
    with simulated() as simulator:
        yield simulator


@pytest.fixture(params=SCHEDULES)
def every_schedule(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """`simulator`, once for each order of threads."""
    with simulated(request.param) as simulator:
        yield simulator
