"""The rotation of optimised product quantisation.

T. Ge, K. He, Q. Ke, J. Sun: Optimized product quantization. IEEE TPAMI 36 (2014), 744-755.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss import _host
from metalfaiss._lloyd import centroids_of
from metalfaiss.distances import knn
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_av
from metalfaiss.random import randn
from metalfaiss.transforms.base import subset
from metalfaiss.transforms.itq import nearest_rotation
from metalfaiss.transforms.linear import LinearTransform
from metalfaiss.vectors import Float32Vector

__all__ = ["OPQMatrix"]

KSUB = 256  # centroids of a subquantizer: 8 bits
PQ_SEED = 1234
ROTATION_SEED = 1234


class OPQMatrix(LinearTransform):
    """The rotation, and reduction to ``d2`` dimensions, after which a product quantizer of M parts errs least.

    Args:
        d: the dimension of what goes in.
        M: how many parts.
        d2: the dimension of what comes out, a multiple of M; -1 for d.

    Attributes:
        niter: how often the rotation and the quantizer are fitted to each other.
        niter_pq, niter_pq_0: k-means iterations of the quantizer, and of the first one.
        max_train_points: training takes at most this many vectors.
        pq: for FAISS's attribute of this name; None, since the quantizer is an own one of 8 bits a part.
    """

    def __init__(self, d: int = 0, M: int = 1, d2: int = -1) -> None:
        super().__init__(max(d, 1), max(d, 1) if d2 == -1 else d2, False)
        self.M = _host.integer("OPQMatrix", "M", M, 1)
        self.niter = 50
        self.niter_pq = 4
        self.niter_pq_0 = 40
        self.max_train_points = 256 * 256
        self.pq: Any = None

    def _train(self, x: mx.array) -> None:
        op = self._op("train")
        if self.d_out % self.M:
            raise RuntimeError(f"[{op}] d_out must be a multiple of M. Received {self.d_out} and {self.M}.")
        x = subset(x, self.max_train_points)
        if x.shape[0] < KSUB:
            raise RuntimeError(f"[{op}] x must have at least {KSUB} rows. Received {x.shape[0]}.")
        d = max(self.d_in, self.d_out)
        points = mx.pad(x - mx.mean(x, axis=0), [(0, 0), (0, d - self.d_in)])
        rotation = self._first_rotation(op, d)
        parts: list[mx.array] = []
        for i in range(self.niter):
            projected = gemm_av(points, rotation)
            parts = self._train_parts(projected, parts, self.niter_pq if i else self.niter_pq_0)
            decoded = self._decoded(projected, parts)
            if self.verbose:
                error = mx.mean(mx.sum(mx.square(decoded - projected), axis=1))
                print(f"  Iteration {i}: obj={_host.to_numpy(error)[0]:g}", flush=True)
            rotation = nearest_rotation(points, decoded)
            mx.eval(rotation)
        A = _host.to_numpy(mx.transpose(rotation))[0][:, : self.d_in]
        self.A = Float32Vector(A.reshape(-1))
        self.is_trained = True
        self.is_orthonormal = True

    def _first_rotation(self, op: str, d: int) -> mx.array:
        """Shape (d, d_out): what A holds already, or a random rotation."""
        if self.A.size() == 0:
            Q = np.linalg.qr(randn(d * d, ROTATION_SEED).reshape(d, d).T.astype(np.float64))[0]
            return mx.array(Q[:, : self.d_out].astype(np.float32))
        if self.A.size() != d * self.d_out:
            raise RuntimeError(f"[{op}] A must hold {d * self.d_out} values, or none. Received {self.A.size()}.")
        return mx.array(np.asarray(self.A).reshape(self.d_out, d).T)

    def _split(self, x: mx.array) -> list[mx.array]:
        return list(mx.split(x, self.M, axis=1))

    def _train_parts(self, x: mx.array, before: list[mx.array], niter: int) -> list[mx.array]:
        """The codebook of each part. From the second time on they begin where they were."""
        starts: list[mx.array | None] = [*before] if before else [None] * self.M
        return [
            centroids_of(part, KSUB, niter, PQ_SEED, start) for part, start in zip(self._split(x), starts, strict=True)
        ]

    def _decoded(self, x: mx.array, codebooks: list[mx.array]) -> mx.array:
        found = []
        for part, codebook in zip(self._split(x), codebooks, strict=True):
            _, ids = knn(part, codebook, 1)
            found.append(mx.take(codebook, ids[:, 0], axis=0))
        return mx.concatenate(found, axis=1)
