"""FAISS's calls that move indexes to GPUs.

MLX's arrays lie in memory that the GPU and the CPU share, or that MLX moves by itself: an index is on no device. Where
a search runs is said by its ``stream``, or by MLX's default device. So these functions copy an index, as FAISS does,
once they know that there is a GPU for it; without one they raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array
from metalfaiss.distances import knn
from metalfaiss.environment import get_num_gpus
from metalfaiss.helpers import clone_binary_index
from metalfaiss.metrics import METRIC_L2
from metalfaiss.pairwise import pairwise_distances

__all__ = [
    "GpuClonerOptions",
    "GpuMultipleClonerOptions",
    "StandardGpuResources",
    "gpu_sync_all_devices",
    "index_binary_cpu_to_gpu",
    "index_binary_gpu_to_cpu",
    "index_cpu_to_all_gpus",
    "index_cpu_to_gpu",
    "index_cpu_to_gpu_multiple_py",
    "index_cpu_to_gpus_list",
    "index_gpu_to_cpu",
    "knn_gpu",
    "pairwise_distance_gpu",
]

T = TypeVar("T")


class StandardGpuResources:
    """What FAISS's GPU indexes share. MLX keeps memory and streams itself: settings change nothing."""

    def noTempMemory(self) -> None:
        """Accepted: MLX keeps its memory itself."""

    def setTempMemory(self, size: int) -> None:
        """Accepted: MLX keeps its memory itself."""

    def setPinnedMemory(self, size: int) -> None:
        """Accepted: MLX keeps its memory itself."""

    def setDefaultNullStreamAllDevices(self) -> None:
        """Accepted: streams are chosen by MLX, or by the argument ``stream``."""

    def syncDefaultStreamCurrentDevice(self) -> None:
        """Waits for the GPU.

        Raises:
            RuntimeError: there is none.
        """
        gpu_sync_all_devices()


class GpuClonerOptions:
    """How FAISS copies an index to a GPU. Here an index is copied as it is; ``useFloat16`` and its kin must stay False.

    Attributes:
        useFloat16, useFloat16CoarseQuantizer, usePrecomputed, indicesOptions, reserveVecs, storeTransposed, verbose:
            FAISS's fields.
    """

    def __init__(self) -> None:
        self.useFloat16 = self.useFloat16CoarseQuantizer = self.usePrecomputed = False
        self.storeTransposed = self.verbose = self.use_cuvs = False
        self.indicesOptions = self.reserveVecs = 0


class GpuMultipleClonerOptions(GpuClonerOptions):
    """``GpuClonerOptions`` for several GPUs; MLX searches on one, so that ``shard`` changes nothing.

    Attributes:
        shard, shard_type, common_ivf_quantizer: FAISS's fields.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shard = self.common_ivf_quantizer = False
        self.shard_type = 1


def index_cpu_to_gpu(
    provider: StandardGpuResources, device: int, index: T, options: GpuClonerOptions | None = None
) -> T:
    """A copy of an index, to be searched on a GPU: pass ``stream=mx.gpu``, or let MLX's default device be the GPU.

    Args:
        provider: kept for FAISS's signature.
        device: the GPU's number.
        index: any index.
        options: must not ask for float16: ``IndexFlat(..., dtype=mx.float16)`` stores it.

    Raises:
        RuntimeError: MLX has no such GPU.
        NotImplementedError: the options ask for float16.
    """
    return _on_gpus("index_cpu_to_gpu", [device], index, options)


def index_cpu_to_gpu_multiple_py(
    resources: Sequence[StandardGpuResources],
    index: T,
    co: GpuClonerOptions | None = None,
    gpus: Sequence[int] | None = None,
) -> T:
    """``index_cpu_to_gpu`` for several GPUs, of which MLX uses one: a copy of the index.

    Raises:
        RuntimeError: MLX has no such GPUs, or none is named.
        NotImplementedError: the options ask for float16.
    """
    return _on_gpus("index_cpu_to_gpu_multiple_py", range(len(resources)) if gpus is None else gpus, index, co)


def index_cpu_to_gpus_list(
    index: T, co: GpuClonerOptions | None = None, gpus: Sequence[int] | None = None, ngpu: int = -1
) -> T:
    """``index_cpu_to_gpu_multiple_py`` for the GPUs in a list, or for the first ``ngpu``; -1 stands for all.

    Raises:
        RuntimeError: MLX has no such GPUs, or none at all.
        NotImplementedError: the options ask for float16.
    """
    chosen = range(get_num_gpus() if ngpu == -1 else ngpu) if gpus is None else gpus
    return _on_gpus("index_cpu_to_gpus_list", chosen, index, co)


def index_cpu_to_all_gpus(index: T, co: GpuClonerOptions | None = None, ngpu: int = -1) -> T:
    """``index_cpu_to_gpus_list`` for all GPUs, or for the first ``ngpu``."""
    return index_cpu_to_gpus_list(index, co, None, ngpu)


def index_gpu_to_cpu(index: T) -> T:
    """A copy of an index: it was on no device before, either."""
    return clone_binary_index(index)


index_binary_cpu_to_gpu = index_cpu_to_gpu
index_binary_gpu_to_cpu = index_gpu_to_cpu


def gpu_sync_all_devices() -> None:
    """Waits for what runs on the GPU.

    Raises:
        RuntimeError: there is none.
    """
    _require_gpus("gpu_sync_all_devices", [0])
    mx.synchronize(mx.default_stream(mx.Device(mx.gpu)))


def knn_gpu(
    res: StandardGpuResources,
    xq: Array,
    xb: Array,
    k: int,
    D: NDArray[np.float32] | None = None,
    I: NDArray[np.int64] | None = None,
    metric: int = METRIC_L2,
    device: int = -1,
    use_cuvs: bool = False,
    vectorsMemoryLimit: int = 0,
    queriesMemoryLimit: int = 0,
) -> tuple[Any, Any]:
    """``knn`` on the GPU.

    Args:
        res, use_cuvs, vectorsMemoryLimit, queriesMemoryLimit: kept for FAISS's signature: memory is bounded anyway.
        xq, xb, k, metric: as for ``knn``.
        D, I: NumPy arrays of shape (nq, k), float32 and int64, to write to.
        device: the GPU's number; -1 for MLX's.

    Returns:
        As ``knn``.

    Raises:
        TypeError, ValueError: as ``knn`` does.
        RuntimeError: MLX has no such GPU.
    """
    _require_gpus("knn_gpu", [max(device, 0)])
    found: Any = knn(xq, xb, k, metric, stream=mx.Device(mx.gpu))
    return _host.output(found[0], D), _host.output(found[1], I)


def pairwise_distance_gpu(
    res: StandardGpuResources,
    xq: Array,
    xb: Array,
    D: NDArray[np.float32] | None = None,
    metric: int = METRIC_L2,
    device: int = -1,
) -> Any:
    """``pairwise_distances`` on the GPU; ``D`` may be a float32 NumPy array (nq, nb) to write to.

    Raises:
        TypeError, ValueError: as ``pairwise_distances`` does.
        RuntimeError: MLX has no such GPU.
    """
    _require_gpus("pairwise_distance_gpu", [max(device, 0)])
    found: Any = pairwise_distances(xq, xb, metric, stream=mx.Device(mx.gpu))
    return _host.output(found, D)


def _on_gpus(op: str, gpus: Sequence[int], index: T, options: GpuClonerOptions | None) -> T:
    _require_gpus(op, gpus)
    if options is not None and (options.useFloat16 or options.useFloat16CoarseQuantizer):
        raise NotImplementedError(
            f"[{op}] useFloat16 must be False: IndexFlat(..., dtype=mx.float16) stores float16. Received True."
        )
    return clone_binary_index(index)


def _require_gpus(op: str, gpus: Sequence[int]) -> None:
    known = get_num_gpus()
    if len(gpus) == 0 or not all(0 <= gpu < known for gpu in gpus):
        raise RuntimeError(f"[{op}] The GPUs must be among MLX's, of which there are {known}. Received {list(gpus)}.")
