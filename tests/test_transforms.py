"""Transforms of vectors against faiss-cpu."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss

D = 20


def points(n: int = 3000, d: int = D) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 + 1).astype(np.float32)


def gram(y: np.ndarray) -> np.ndarray:
    y = y[:200].astype(np.float64)
    return y @ y.T


MAKERS: dict[str, Callable[[Any], Any]] = {
    "random rotation": lambda f: f.RandomRotationMatrix(D, D),
    "random projection": lambda f: f.RandomRotationMatrix(D, 8),
    "random frame": lambda f: f.RandomRotationMatrix(D, 27),
    "hadamard": lambda f: f.HadamardRotation(D, 7),
    "remap": lambda f: f.RemapDimensionsTransform(D, 33, True),
    "pad": lambda f: f.RemapDimensionsTransform(D, 24, False),
    "fewer": lambda f: f.RemapDimensionsTransform(D, 6, True),
    "normalisation": lambda f: f.NormalizationTransform(D, 2.0),
    "centering": lambda f: f.CenteringTransform(D),
}
ROTATED: dict[str, Callable[[Any], Any]] = {
    "pca": lambda f: f.PCAMatrix(D, 8),
    "all components": lambda f: f.PCAMatrix(D, D),
    "whitening": lambda f: f.PCAMatrix(D, 8, -0.5),
    "pca, rotated": lambda f: f.PCAMatrix(D, 8, 0.0, True),
    "whitening, rotated": lambda f: f.PCAMatrix(D, 8, -0.5, True),
    "whitening above a floor": lambda f: floored(f.PCAMatrix(D, 8, -0.5)),
    "whitening above a floor, rotated": lambda f: floored(f.PCAMatrix(D, 8, -0.5, True)),
}
OTHERS: dict[str, Callable[[Any], Any]] = {
    "itq": lambda f: f.ITQMatrix(D),
    "itq transform": lambda f: f.ITQTransform(D, 8, True),
    "opq": lambda f: quick(f.OPQMatrix(D, 4, 16)),
}


def floored(pca: Any) -> Any:
    pca.epsilon = 500.0
    return pca


def quick(opq: Any) -> Any:
    opq.niter = 2
    opq.niter_pq_0 = 10
    return opq


def trained(maker: Callable[[Any], Any], module: Any, x: np.ndarray) -> Any:
    made = maker(module)
    made.train(x)
    return made


@pytest.mark.parametrize("name", MAKERS)
def test_values_are_those_of_faiss(name: str) -> None:
    x = points()
    theirs, ours = (trained(MAKERS[name], module, x) for module in (faiss, metalfaiss))
    assert (ours.d_in, ours.d_out, ours.is_trained) == (theirs.d_in, theirs.d_out, True)
    y = theirs.apply(x)
    np.testing.assert_allclose(ours.apply(x), y, atol=2e-5)
    if name not in ("random frame", "hadamard"):
        back = np.zeros_like(x) if name != "fewer" else None
        if back is not None:
            np.testing.assert_allclose(ours.reverse_transform(y), theirs.reverse_transform(y), atol=2e-5)
    if name == "hadamard":
        np.testing.assert_allclose(ours.reverse_transform(y), x, atol=1e-5)


@pytest.mark.parametrize("name", ROTATED)
def test_components_are_those_of_faiss_up_to_signs(name: str) -> None:
    x = points()
    theirs, ours = (trained(ROTATED[name], module, x) for module in (faiss, metalfaiss))
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    exact = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose(np.asarray(ours.eigenvalues), exact, rtol=2e-5)
    np.testing.assert_allclose(gram(ours.apply(x)), gram(theirs.apply(x)), atol=2e-3)
    assert ours.is_orthonormal == theirs.is_orthonormal
    assert ours.PCAMat.size() == theirs.PCAMat.size()
    if ours.is_orthonormal:
        y = ours.apply(x)
        np.testing.assert_allclose(ours.apply(ours.reverse_transform(y)), y, atol=1e-4)


def test_balanced_bins_and_copies() -> None:
    x = points()
    a, b = faiss.PCAMatrix(D, 8), metalfaiss.PCAMatrix(D, 8)
    a.balanced_bins = b.balanced_bins = 4
    a.train(x)
    b.train(x)
    np.testing.assert_allclose(np.abs(b.apply(x)), np.abs(a.apply(x)), atol=1e-3)
    c = metalfaiss.PCAMatrix(D, 4, -0.5)
    c.copy_from(b)
    np.testing.assert_allclose(c.apply(x).T @ c.apply(x), np.eye(4), atol=1e-3)
    b.balanced_bins = 3
    with pytest.raises(RuntimeError, match="multiple of balanced_bins"):
        b.prepare_Ab()


def test_fewer_vectors_than_dimensions() -> None:
    x = points(12)
    a, b = faiss.PCAMatrix(D, 8), metalfaiss.PCAMatrix(D, 8)
    a.train(x)
    b.train(x)
    np.testing.assert_allclose(np.abs(b.apply(x)), np.abs(a.apply(x)), atol=1e-3)
    with pytest.raises(RuntimeError, match="at least d_out"):
        metalfaiss.PCAMatrix(D, 13).train(x)


def test_signs_after_itq_are_as_near_as_those_of_faiss() -> None:
    x = points() - 1
    a, b = (trained(lambda f: f.ITQMatrix(D), module, x) for module in (faiss, metalfaiss))

    def off(y: np.ndarray) -> float:
        return float(((np.sign(y) - y) ** 2).sum())

    assert off(b.apply(x)) <= 1.001 * off(a.apply(x))
    A = np.asarray(b.A).reshape(D, D)
    np.testing.assert_allclose(A @ A.T, np.eye(D), atol=1e-5)
    y = trained(OTHERS["itq transform"], metalfaiss, x).apply(x)
    assert y.shape == (3000, 8)
    b.init_rotation = np.eye(D)
    b.train(x)
    with pytest.raises(RuntimeError, match="do_pca"):
        metalfaiss.ITQTransform(D, 8, False)


def test_quantisation_after_opq_errs_no_more_than_with_faiss() -> None:
    x = points(1000)
    a, b = (trained(OTHERS["opq"], module, x) for module in (faiss, metalfaiss))

    def error(y: np.ndarray) -> float:
        pq = faiss.ProductQuantizer(16, 4, 8)
        pq.train(y)
        return float(((pq.decode(pq.compute_codes(y)) - y) ** 2).sum())

    assert error(b.apply(x)) <= 1.03 * error(a.apply(x))
    wide = metalfaiss.OPQMatrix(D, 4, 24)
    wide.niter = wide.niter_pq_0 = 1
    wide.train(x)
    assert wide.apply(x).shape == (1000, 24)
    with pytest.raises(RuntimeError, match="multiple of M"):
        metalfaiss.OPQMatrix(D, 3).train(x)
    with pytest.raises(RuntimeError, match="256"):
        metalfaiss.OPQMatrix(D, 4).train(x[:100])


@pytest.mark.parametrize("name", [*MAKERS, *ROTATED, *OTHERS])
def test_copies_and_lazy_arrays(name: str) -> None:
    maker = (MAKERS | ROTATED | OTHERS)[name]
    x = points(400)
    t = trained(maker, metalfaiss, x)
    y = t.apply(x)
    assert y.dtype == np.float32
    for other in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t)):
        np.testing.assert_array_equal(other.apply(x), y)
        t.check_identical(other)
    lazy = mx.compile(t.apply)(mx.array(x))
    assert isinstance(lazy, mx.array)
    np.testing.assert_allclose(np.array(lazy), y, atol=1e-5)
    np.testing.assert_array_equal(t.apply_py(x[::-2]), t.apply(np.ascontiguousarray(x[::-2])))
    assert t.apply(x[:0]).shape == (0, t.d_out)
    assert f"({t.d_in}, {t.d_out}" in repr(t)
    with pytest.raises(ValueError, match="shape"):
        t.apply(x[:, 1:])


def test_linear_transform_set_by_hand() -> None:
    x = points(50)
    rng = np.random.default_rng(1)
    A, b = rng.standard_normal((6, D)).astype(np.float32), rng.standard_normal(6).astype(np.float32)
    t = metalfaiss.LinearTransform(D, 6, True)
    with pytest.raises(RuntimeError, match="trained"):
        t.apply(x)
    metalfaiss.copy_array_to_vector(A.ravel(), t.A)
    metalfaiss.copy_array_to_vector(b, t.b)
    t.is_trained = True
    np.testing.assert_allclose(t.apply(x), x @ A.T + b, atol=1e-4)
    t.set_is_orthonormal()
    assert not t.is_orthonormal
    with pytest.raises(RuntimeError, match="orthonormal"):
        t.reverse_transform(t.apply(x))
    t.A = np.linalg.qr(A.T)[0].T
    t.set_is_orthonormal()
    assert t.is_orthonormal
    np.testing.assert_allclose(t.apply(t.reverse_transform(t.apply(x))), t.apply(x), atol=1e-4)
    other = copy.deepcopy(t)
    other.b = b + 1
    with pytest.raises(RuntimeError, match="values in b"):
        t.check_identical(other)
    with pytest.raises(RuntimeError, match="LinearTransform"):
        t.check_identical(metalfaiss.CenteringTransform(D))
    t.A = A[0]
    with pytest.raises(RuntimeError, match="must hold 6x20 values"):
        t.apply(x)


def test_gradient_and_refusals() -> None:
    x = mx.array(points(5))
    t = metalfaiss.NormalizationTransform(D)
    g = mx.grad(lambda v: mx.sum(t.apply(v)))(x)
    assert g.shape == x.shape
    with pytest.raises(NotImplementedError, match="norm"):
        metalfaiss.NormalizationTransform(D, 1.0)
    with pytest.raises(ValueError, match="map"):
        metalfaiss.RemapDimensionsTransform(4, 2, [1, 7])
    assert np.asarray(metalfaiss.RemapDimensionsTransform(4, 2, [1, -1]).map).tolist() == [1, -1]
    with pytest.raises(RuntimeError, match="way back"):
        trained(OTHERS["itq transform"], metalfaiss, points(400)).reverse_transform(points(3, 8))


def test_in_front_of_an_index() -> None:
    x = points()
    index = metalfaiss.IndexPreTransform(metalfaiss.PCAMatrix(D, 8), metalfaiss.IndexFlatL2(8))
    theirs = faiss.IndexPreTransform(faiss.PCAMatrix(D, 8), faiss.IndexFlatL2(8))
    for each in (index, theirs):
        each.train(x)
        each.add(x)
    D1, I1 = index.search(x[:50], 5)
    D2, I2 = theirs.search(x[:50], 5)
    assert (I1 == I2).mean() > 0.99
    np.testing.assert_allclose(D1, D2, atol=1e-3)
