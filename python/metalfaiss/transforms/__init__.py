"""Transforms of vectors: FAISS's ``VectorTransform`` classes, on NumPy arrays or, lazily, on ``mx.array``."""

from metalfaiss.transforms.base import VectorTransform
from metalfaiss.transforms.hadamard import HadamardRotation
from metalfaiss.transforms.itq import ITQMatrix, ITQTransform
from metalfaiss.transforms.linear import LinearTransform, RandomRotationMatrix
from metalfaiss.transforms.opq import OPQMatrix
from metalfaiss.transforms.pca import PCAMatrix
from metalfaiss.transforms.simple import CenteringTransform, NormalizationTransform, RemapDimensionsTransform

__all__ = [
    "CenteringTransform",
    "HadamardRotation",
    "ITQMatrix",
    "ITQTransform",
    "LinearTransform",
    "NormalizationTransform",
    "OPQMatrix",
    "PCAMatrix",
    "RandomRotationMatrix",
    "RemapDimensionsTransform",
    "VectorTransform",
]
