"""Fixtures of the tests that prove the Metal kernels."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metalfaiss import _core

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "metal/tools"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from cuda_runner import CudaRunner
from simulator import Simulator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=["simulator", "cuda"], default="simulator", help="what runs the kernels")


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator | CudaRunner]:
    """Runs every operation of the test through the simulator, whatever its stream; fails with what it finds.

    With ``--device cuda`` an NVIDIA GPU takes the simulator's place, in the tests that do not look into it.
    """
    sim = CudaRunner() if request.config.getoption("--device") == "cuda" else Simulator()
    _core.simulate(sim)
    yield sim
    _core.simulate(None)
    sim.check()
