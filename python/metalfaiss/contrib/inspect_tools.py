"""What indexes and transforms hold, as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.errors import ArgumentError
from metalfaiss.transforms import LinearTransform
from metalfaiss.vectors import vector_to_array

__all__ = [
    "get_LinearTransform_matrix",
    "get_flat_codes",
    "get_flat_data",
    "get_invlist",
    "get_invlist_sizes",
    "make_LinearTransform_matrix",
    "print_object_fields",
]


def print_object_fields(obj: Any) -> None:
    """Prints the attributes of an object that are not methods, by name."""
    for name in sorted(dir(obj)):
        if not name.startswith("_") and not callable(value := getattr(obj, name)):
            print(f"{name} = {value}")


def get_invlist(invlists: Any, l: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The ids (n,) and codes (n, code_size) of an inverted list, copied."""
    return np.array(invlists.get_ids(l)), np.array(invlists.get_codes(l)).reshape(-1, invlists.code_size)


def get_invlist_sizes(invlists: Any) -> NDArray[np.int64]:
    """How long each inverted list is, shape (nlist,)."""
    return np.array([invlists.list_size(i) for i in range(invlists.nlist)], dtype=np.int64)


def get_LinearTransform_matrix(pca: LinearTransform) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The matrix (d_out, d_in) and the bias (d_out,) of a linear transform; the bias is empty where there is none."""
    return vector_to_array(pca.A).reshape(pca.d_out, pca.d_in), vector_to_array(pca.b)


def make_LinearTransform_matrix(A: NDArray[Any], b: NDArray[Any] | None = None) -> LinearTransform:
    """The linear transform of a matrix (d_out, d_in) and, perhaps, a bias (d_out,).

    Raises:
        ValueError: a shape is wrong.
    """
    if A.ndim != 2 or (b is not None and b.shape != A.shape[:1]):
        shape = None if b is None else b.shape
        raise ArgumentError(
            f"[make_LinearTransform_matrix] A must have shape (d_out, d_in) and b (d_out,). Received {A.shape} and "
            f"{shape}."
        )
    made = LinearTransform(A.shape[1], A.shape[0], b is not None)
    made.A = np.asarray(A, dtype=np.float32).ravel()  # type: ignore[assignment]
    if b is not None:
        made.b = np.asarray(b, dtype=np.float32)  # type: ignore[assignment]
    made.is_trained = True
    made.set_is_orthonormal()
    return made


def get_flat_data(index: Any) -> NDArray[np.float32]:
    """The vectors of an ``IndexFlat``, shape (ntotal, d)."""
    return np.asarray(index.reconstruct_n(0, index.ntotal))


def get_flat_codes(index_flat: Any) -> NDArray[np.uint8]:
    """The codes of an index that stores them one after the other, shape (ntotal, code_size)."""
    return vector_to_array(index_flat.codes).reshape(index_flat.ntotal, index_flat.code_size)
