"""FAISS's vectors as programs use them."""

from __future__ import annotations

import numpy as np
import pytest

import metalfaiss
from metalfaiss import Float32Vector, Int64Vector, copy_array_to_vector, vector_float_to_array, vector_to_array


def test_a_vector_grows_and_is_copied() -> None:
    v = Float32Vector()
    assert v.empty()
    v.push_back(1.5)
    v.resize(3)
    assert (v.size(), len(v), v.at(0), v[2], list(v)) == (3, 3, 1.5, 0.0, [1.5, 0.0, 0.0])
    copied = vector_float_to_array(v)
    v.data()[1] = 7
    np.testing.assert_array_equal(copied, np.float32([1.5, 0, 0]))
    np.testing.assert_array_equal(vector_to_array(v), np.float32([1.5, 7, 0]))
    v.clear()
    assert v.size() == 0
    assert repr(v).startswith("Float32Vector(")


def test_copy_array_to_vector() -> None:
    v = Int64Vector([3])
    copy_array_to_vector(np.arange(5), v)
    assert vector_to_array(v).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(TypeError, match=r"a must hold int64 for Int64Vector. Received float32"):
        copy_array_to_vector(np.zeros(2, np.float32), v)
    with pytest.raises(ValueError, match=r"a must have shape \(n,\)"):
        copy_array_to_vector(np.zeros((2, 2), np.int64), v)
    with pytest.raises(TypeError, match=r"v must be a vector. Received list"):
        copy_array_to_vector(np.zeros(2), [])  # type: ignore[arg-type]
    with pytest.raises(IndexError, match=r"i must be less than 5. Received 9"):
        v.at(9)


@pytest.mark.parametrize("name", ["Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32"])
def test_dtypes(name: str) -> None:
    vector = getattr(metalfaiss, f"{name}Vector")([1, 2])
    assert vector_to_array(vector).dtype == np.dtype(name.lower())


def test_codes_of_a_flat_index() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    index = metalfaiss.IndexFlatL2(4)
    index.add(x)
    index.add_sa_codes(index.sa_encode(x))
    np.testing.assert_array_equal(vector_to_array(index.codes).view(np.float32).reshape(6, 4), np.vstack([x, x]))
    np.testing.assert_array_equal(index.get_xb().reshape(6, 4), np.vstack([x, x]))
