"""The bytes of A in gemm_av, gemm_at_b and z_step: once, or twice where z_step's sum is too large for one pass."""

from __future__ import annotations

import mlx.core as mx

from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step

from . import Case

__all__ = ["CASES"]

_OPS = {"gemm_av": gemm_av, "gemm_at_b": gemm_at_b, "z_step": z_step}

# Those of benchmarks/bench_gemm.py, with fewer rows.
_SHAPES = [(2048, 64, 8), (512, 256, 32), (1000, 64, 128), (1024, 512, 32), (300, 1024, 128), (300, 1024, 8)]


def _case(op: str, m: int, n: int, k: int, dtype: mx.Dtype = mx.float32, by_columns: bool = False) -> Case:
    def run() -> None:
        a = mx.ones((n, m) if by_columns else (m, n), dtype=dtype)
        mx.eval(a)
        mx.eval(_OPS[op](a.T if by_columns else a, mx.ones((m if op == "gemm_at_b" else n, k), dtype=dtype)))

    passes = 2 if op == "z_step" and (k > 128 or n * k > 32768) else 1
    stored = ", A stored by columns" if by_columns else ""
    name = f"{op} {str(dtype).removeprefix('mlx.core.')} {m}x{n}, k={k}{stored}"
    return Case(name, run, ("input 0",), m * n * dtype.size, 2.2 if passes == 2 else 1.1)


CASES = [_case(op, *shape) for op in _OPS for shape in _SHAPES]
CASES += [_case(op, 1024, 256, 32, mx.float16) for op in _OPS]
CASES += [_case(op, 512, 128, 16, by_columns=True) for op in _OPS]
CASES += [_case("z_step", 100, 1024, 32), _case("z_step", 100, 2048, 8), _case("z_step", 100, 512, 64)]
CASES += [_case("z_step", 100, 256, 128)]
CASES += [
    Case(
        "z_step float32 512x256, k=16, on tensor cores",
        lambda: mx.eval(z_step(mx.ones((512, 256)), mx.ones((256, 16)))),
        ("input 0",),
        4 * 512 * 256,
        1.0,
        multiplies=True,
    )
]
