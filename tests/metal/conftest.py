"""Fixtures of the tests that prove the Metal kernels."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metalfaiss import _core

sys.path.insert(0, str(Path(__file__).resolve().parent))

from simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Runs every operation of the test through the simulator, whatever its stream; fails with what it finds."""
    sim = Simulator()
    _core.simulate(sim)
    yield sim
    _core.simulate(None)
    sim.check()
