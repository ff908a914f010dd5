"""Fixtures of the tests that prove the Metal kernels."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from metalfaiss import _core

from .cuda_runner import CudaRunner
from .simulator import SCHEDULES, Simulator

sys.path.append(str(Path(__file__).resolve().parent))  # tests import the tools beside them by name


class AppleGpu:
    """This machine's GPU in the place of the simulator: nothing is diverted."""

    @contextmanager
    def active(self, core: Any) -> Iterator[None]:
        yield

    def check(self) -> None:
        mx.synchronize()


Runner = Simulator | CudaRunner | AppleGpu
_RUNNERS: dict[str, Callable[[str], Runner]] = {
    "simulator": Simulator,
    "cuda": lambda schedule: CudaRunner(),
    "metal": lambda schedule: AppleGpu(),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a GPU only tests of kernels are of use, not those of the tools that prove them without one."""
    if config.getoption("--kernels") == "simulator":
        return
    folder = Path(__file__).resolve().parent
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if folder in item.path.parents and not fixtures & {"simulator", "every_schedule"}:
            item.add_marker(pytest.mark.skip(reason="proves without a GPU"))


@contextmanager
def _simulated(request: pytest.FixtureRequest, schedule: str) -> Iterator[Runner]:
    kernels, default = request.config.getoption("--kernels"), mx.default_device()
    runner = _RUNNERS[kernels](schedule)
    mx.set_default_device(mx.gpu if kernels == "metal" else mx.cpu)  # what stands in for a GPU runs on CPU streams
    try:
        with runner.active(_core):
            yield runner
    finally:
        mx.set_default_device(default)
    runner.check()


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """Runs every operation of the test through the simulator, whatever its stream; fails with what it finds.

    With ``--kernels cuda`` or ``metal`` a GPU takes its place, for tests that do not look into it.
    """
    with _simulated(request, SCHEDULES[0]) as runner:
        yield runner


@pytest.fixture
def products(simulator: Runner) -> Runner:
    """`simulator`, as an executor that has tensor cores and prefers its own products."""
    if isinstance(simulator, AppleGpu):
        pytest.skip("is for executors that make products of their own")
    simulator.multiplies = True
    _core.simulate(simulator, multiplies=True)
    return simulator


@pytest.fixture(params=SCHEDULES)
def every_schedule(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """`simulator`, once for each order of threads."""
    if request.config.getoption("--kernels") != "simulator" and request.param != SCHEDULES[0]:
        pytest.skip("a GPU has its own order")
    with _simulated(request, request.param) as runner:
        yield runner
