"""Every code block of docs/compile-guide.md runs as it stands, with the shapes that the guide names."""

import importlib
import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

GUIDE = Path(__file__).parent.parent / "docs" / "compile-guide.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
M, N, K, ITERS = 512, 256, 32, 3  # "512x256, k=32, iters=3"


def run_block(containing: str, replace: dict[str, str] | None = None, **names: Any) -> dict[str, Any]:
    """Executes the block that contains the text and returns what it defines."""
    (source,) = (block for block in BLOCKS if containing in block)
    for old, new in (replace or {}).items():
        assert old in source
        source = source.replace(old, new)
    scope = {"mx": mx, **names}
    exec(compile(source, str(GUIDE), "exec"), scope)
    return scope


@pytest.fixture
def matrices(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((M, N)).astype(np.float32), rng.standard_normal((N, K)).astype(np.float32)


def test_every_block_is_executed_here() -> None:
    assert [len([b for b in BLOCKS if name in b]) for name in ("svd_step_c", "zstep_kernel_c", "def mixed")] == [
        1,
        1,
        1,
    ]
    assert len(BLOCKS) == 3


def test_svd_step(matrices: tuple[np.ndarray, np.ndarray]) -> None:
    a, v = matrices
    scope = run_block("svd_step_c")
    A = mx.array(a)
    plain = fast = mx.array(v)
    for _ in range(ITERS):
        plain, fast = scope["svd_step"](A, plain), scope["svd_step_c"](A, fast)
        v = np.linalg.qr(a.T.astype(np.float64) @ (a @ v.astype(np.float64)))[0]
    for V in (plain, fast):
        V = np.array(V, dtype=np.float64)
        np.testing.assert_allclose(V.T @ V, np.eye(K), atol=1e-5)
        np.testing.assert_allclose(np.linalg.svd(V.T @ v)[1], np.ones(K), atol=1e-5)  # the same subspace
    np.testing.assert_allclose(np.array(fast), np.array(plain), atol=1e-5)


def test_kernel_wrapper(matrices: tuple[np.ndarray, np.ndarray]) -> None:
    a, v = matrices
    scope = run_block("zstep_kernel_c")
    expected = a.T.astype(np.float64) @ (a.astype(np.float64) @ v)
    for name in ("zstep_kernel", "zstep_kernel_c"):
        Z = scope[name](mx.array(a), mx.array(v))
        np.testing.assert_allclose(np.array(Z), expected, atol=1e-5 * np.abs(expected).max())


def check_mixed(scope: dict[str, Any], a: np.ndarray, v: np.ndarray) -> None:
    v[0, :3] = 1e-7, -1e-7, 1e-5
    B, Vg = scope["mixed"](mx.array(a), mx.array(v))
    expected = a.astype(np.float64) @ v
    np.testing.assert_allclose(np.array(B), expected, atol=1e-2 * np.abs(expected).max())  # TF32 on some GPUs
    np.testing.assert_array_equal(np.array(Vg), np.where(np.abs(v) < 1e-6, 0, v))
    assert np.array(Vg)[0, :3].tolist() == [0, 0, np.float32(1e-5)]


@pytest.mark.skipif(not mx.is_available(mx.gpu), reason="needs a GPU")
def test_mixed_cpu_and_gpu(matrices: tuple[np.ndarray, np.ndarray]) -> None:
    check_mixed(run_block("def mixed"), *matrices)


def test_mixed_with_two_cpu_streams(matrices: tuple[np.ndarray, np.ndarray]) -> None:
    """The same text where there is no GPU: what crosses devices there crosses streams here."""
    scope = run_block("def mixed", {"stream=mx.gpu": "stream=second"}, second=mx.new_stream(mx.cpu))
    check_mixed(scope, *matrices)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("metalfaiss.faissmlx.qr", ["pure_mlx_qr", "qr"]),
        ("metalfaiss.faissmlx.kernels.gemm_kernels", ["gemm_av", "gemm_at_b", "z_step"]),
        ("metalfaiss.faissmlx.svd", ["svd_step", "svd_step_c", "topk_svd"]),
        ("metalfaiss.faissmlx.compiled", ["compiled"]),
    ],
)
def test_documented_imports(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    assert all(callable(getattr(found, name)) for name in names)
    assert set(names) <= set(found.__all__)


def test_shapeless_flatten() -> None:
    """ "prefer flatten(start, end) over reshape with captured dims"."""
    rows = mx.compile(lambda x: mx.flatten(x, 0, 1), shapeless=True)
    for shape in ((2, 3, 4), (5, 1, 4), (3, 3, 2)):
        assert rows(mx.ones(shape)).shape == (shape[0] * shape[1], shape[2])
