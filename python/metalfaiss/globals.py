"""FAISS's global variables, ``faiss.cvar``: what programs set there, and what it does here."""

from __future__ import annotations

from typing import Any

from metalfaiss._core import hash_stats, ivf_stats
from metalfaiss.environment import SIMDConfig
from metalfaiss.io.flags import (
    IO_FLAG_MMAP,
    IO_FLAG_MMAP_IFC,
    IO_FLAG_ONDISK_SAME_DIR,
    IO_FLAG_PQ_SKIP_SDC_TABLE,
    IO_FLAG_READ_ONLY,
    IO_FLAG_SKIP_IVF_DATA,
    IO_FLAG_SKIP_PRECOMPUTE_TABLE,
    IO_FLAG_SKIP_STORAGE,
)

__all__ = ["cvar"]

_CONSTANTS = {
    "IO_FLAG_MMAP": IO_FLAG_MMAP,
    "IO_FLAG_MMAP_IFC": IO_FLAG_MMAP_IFC,
    "IO_FLAG_ONDISK_SAME_DIR": IO_FLAG_ONDISK_SAME_DIR,
    "IO_FLAG_PQ_SKIP_SDC_TABLE": IO_FLAG_PQ_SKIP_SDC_TABLE,
    "IO_FLAG_READ_ONLY": IO_FLAG_READ_ONLY,
    "IO_FLAG_SKIP_IVF_DATA": IO_FLAG_SKIP_IVF_DATA,
    "IO_FLAG_SKIP_PRECOMPUTE_TABLE": IO_FLAG_SKIP_PRECOMPUTE_TABLE,
    "IO_FLAG_SKIP_STORAGE": IO_FLAG_SKIP_STORAGE,
}

# FAISS's variables that choose among ways to one result. The kernels here choose by shape.
_ACCEPTED = {
    "bucket_sort_verbose": 0,
    "check_compatible_for_merge_expensive_check": True,
    "distance_compute_blas_database_bs": 1024,
    "distance_compute_blas_query_bs": 4096,
    "distance_compute_blas_threshold": 128000,
    "distance_compute_min_k_reservoir": 100,
    "hamming_batch_size": 65536,
    "index_factory_verbose": 0,
    "index_ivfpq_add_core_o_bs": 32768,
    "index_read_warn_on_null_invlists": True,
    "multi_index_quantizer_search_bs": 32768,
    "precomputed_table_max_bytes": 1 << 31,
    "product_quantizer_compute_codes_bs": 262144,
    "rowwise_minmax_sa_decode_bs": 16384,
    "rowwise_minmax_sa_encode_bs": 16384,
}


class _Variables:
    """FAISS's global variables.

    ``IO_FLAG_*`` and ``SIMDConfig_level`` tell what they tell in FAISS. Block sizes and thresholds, such as
    ``distance_compute_blas_threshold``, choose among ways to one result in FAISS: they have its default values, can be
    set, and change nothing, since the kernels choose by shape. ``indexIVF_stats`` counts what searches of inverted
    lists do, ``indexBinaryHash_stats`` what searches by hashes do: see ``IndexIVFStats``, ``IndexBinaryHashStats``.
    """

    def __init__(self) -> None:
        vars(self).update(_ACCEPTED)

    def __getattr__(self, name: str) -> Any:
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name == "SIMDConfig_level":
            return SIMDConfig.get_level()
        if name == "indexIVF_stats":
            return ivf_stats()
        if name == "indexBinaryHash_stats":
            return hash_stats()
        raise AttributeError(f"[cvar] The variable must be one of {', '.join(dir(self))}. Received {name!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _ACCEPTED:
            raise AttributeError(
                f"[cvar] A variable that is set must be one of {', '.join(_ACCEPTED)}. Received {name!r}."
            )
        vars(self)[name] = type(_ACCEPTED[name])(value)

    def __dir__(self) -> list[str]:
        return sorted({*_ACCEPTED, *_CONSTANTS, "SIMDConfig_level", "indexBinaryHash_stats", "indexIVF_stats"})

    def __repr__(self) -> str:
        return f"cvar({', '.join(dir(self))})"


cvar = _Variables()
