"""Fixtures that every test file shares."""

from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss  # noqa: F401  (checks the extension before anything else)
from metalfaiss import _core

mx.set_default_device(mx.cpu)  # where the kernels are; on a Mac the default is the GPU


@pytest.fixture(params=_core.simd_levels())
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once at every SIMD level of this machine."""
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1234)


@pytest.fixture(autouse=True)
def _seed_mlx() -> None:
    mx.random.seed(1234)
