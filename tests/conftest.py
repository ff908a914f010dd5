"""Fixtures that every test file shares."""

import os
from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest

import metalfaiss  # noqa: F401  (checks the extension before anything else)
from metalfaiss import _core


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=["cpu", "gpu"], default="cpu", help="MLX's default device (default: cpu)")
    parser.addoption(
        "--kernels",
        choices=["simulator", "cuda", "metal"],
        default="simulator",
        help="what runs the GPU kernels in tests/metal: the simulator, an NVIDIA GPU, or this Mac's own",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("MLX_ENABLE_TF32", "0")  # MLX's own operations are the oracle of many tests
    mx.set_default_device(mx.gpu if config.getoption("--device") == "gpu" else mx.cpu)


@pytest.fixture(params=_core.simd_levels())
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once at every SIMD level of this machine; on a GPU, which has none, once."""
    if request.config.getoption("--device") == "gpu" and request.param != _core.simd_levels()[-1]:
        pytest.skip("levels are the CPU's")
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
