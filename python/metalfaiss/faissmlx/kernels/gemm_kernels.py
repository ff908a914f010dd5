"""Products of a tall matrix with a skinny one, as native MLX operations."""

from metalfaiss._core import gemm_at_b, gemm_av, z_step

__all__ = ["gemm_at_b", "gemm_av", "z_step"]
