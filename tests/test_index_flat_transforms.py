"""Flat indexes inside of MLX's transforms and on its streams."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from oracles.flat import FLAT, built, chunked, normal, raises, small_chunks

from metalfaiss import IndexFlatL2, _core

__all__ = ["small_chunks"]


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("make", [chunked, lambda x, kind: built(kind, x)], ids=["chunks", "one"])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_queries_and_vectors(kind: Any, make: Any, compiled: bool) -> None:
    xq, xb = mx.array(normal(5, 6)), mx.array(normal(45, 6, seed=1))
    weight = mx.array(normal(5, 4, seed=2))

    def native(xq: mx.array, xb: mx.array) -> mx.array:
        D, _ = make(xb, kind).search(xq, 4)
        return (D * weight).sum()

    def pure(xq: mx.array, xb: mx.array) -> mx.array:
        if kind is IndexFlatL2:
            D = mx.sort(mx.square(xq[:, None] - xb[None]).sum(-1), axis=-1)[:, :4]
        else:
            D = -mx.sort(-(xq @ xb.T), axis=-1)[:, :4]
        return (D * weight).sum()

    value_and_grad = mx.value_and_grad(native, argnums=(0, 1))
    value, grads = (mx.compile(value_and_grad) if compiled else value_and_grad)(xq, xb)
    wanted, wanted_grads = mx.value_and_grad(pure, argnums=(0, 1))(xq, xb)
    assert mx.allclose(value, wanted, rtol=1e-5)
    for g, w in zip(grads, wanted_grads, strict=True):
        assert mx.allclose(g, w, rtol=1e-4, atol=1e-5)
    _, tangent = mx.jvp(native, [xq, xb], [mx.ones_like(xq), xb])
    _, wanted_tangent = mx.jvp(pure, [xq, xb], [mx.ones_like(xq), xb])
    assert mx.allclose(tangent[0], wanted_tangent[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shapeless", [False, True])
@pytest.mark.parametrize("kind", FLAT)
def test_compiled_search_of_a_captured_index(kind: Any, shapeless: bool) -> None:
    traces = 0
    index = chunked(mx.array(normal(50, 6)), kind)
    mx.eval(index._chunks)  # a lazy array within a shapeless function must know its shape, MLX's slices do not

    @mx.compile
    def inner(xq: mx.array) -> tuple[mx.array, mx.array]:
        nonlocal traces
        traces += 1
        return index.search(xq, 60)

    search = mx.compile(lambda xq: inner(xq * 1.0), shapeless=shapeless)
    for n in (3, 7, 1):
        xq = mx.array(normal(n, 6, seed=n))
        for got, wanted in zip(search(xq), index.search(xq, 60), strict=True):
            assert mx.array_equal(got, wanted)
    assert traces == (1 if shapeless else 3)
    assert all(_core.is_evaluated(chunk) for chunk in index._chunks)


@pytest.mark.parametrize("kind", FLAT)
def test_compiled_search_of_an_index_made_inside(kind: Any) -> None:
    @mx.compile
    def nearest(xb: mx.array, xq: mx.array) -> tuple[mx.array, mx.array]:
        return chunked(xb, kind).search(xq, 3)

    for seed in range(3):
        xb, xq = mx.array(normal(50, 6, seed=seed)), mx.array(normal(4, 6, seed=seed + 9))
        for got, wanted in zip(nearest(xb, xq), built(kind, np.array(xb)).search(xq, 3), strict=True):
            assert mx.array_equal(got, wanted)


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, 2)])
def test_vmap(kind: Any, axes: tuple[int | None, int | None]) -> None:
    def nearest(xq: mx.array, xb: mx.array) -> tuple[mx.array, mx.array]:
        return chunked(xb, kind).search(xq, 4)

    def mapped(shape: tuple[int, ...], axis: int | None, seed: int) -> list[mx.array]:
        return [mx.array(normal(*shape, seed=seed + (i if axis is not None else 0))) for i in range(3)]

    queries, bases = mapped((5, 6), axes[0], 0), mapped((50, 6), axes[1], 10)
    args = [x[0] if axis is None else mx.stack(x, axis=axis) for x, axis in zip((queries, bases), axes, strict=True)]
    D, I = mx.vmap(nearest, in_axes=axes)(*args)
    for i in range(3):
        wanted = nearest(queries[i], bases[i])
        assert mx.array_equal(D[i], wanted[0])
        assert mx.array_equal(I[i], wanted[1])


def test_vmap_of_a_captured_index_under_grad() -> None:
    index = chunked(mx.array(normal(50, 6)))
    xq = mx.array(normal(12, 6, seed=1))
    grad = mx.grad(lambda q: mx.vmap(lambda one: index.search(one, 2)[0])(q).sum())(xq.reshape(3, 4, 6))
    wanted = mx.grad(lambda q: index.search(q, 2)[0].sum())(xq)
    assert mx.allclose(grad.reshape(12, 6), wanted)


def test_a_traced_vector_does_not_enter_an_index_made_outside() -> None:
    index = built(IndexFlatL2, normal(9, 4))

    def leak(x: mx.array) -> mx.array:
        index.add(x)
        return x.sum()

    for transform in (mx.grad, mx.compile, mx.vmap):
        raises(
            ValueError,
            "[IndexFlatL2.add] x must not be traced, or the index must be made inside of the transformed function. "
            "Received a traced array for an index made outside.",
            lambda t=transform: t(leak)(mx.ones((3, 4) if t is not mx.vmap else (2, 3, 4))),
        )
    assert index.ntotal == 9


def test_plain_vectors_enter_an_index_within_a_trace() -> None:
    index, x = IndexFlatL2(4), mx.array(normal(9, 4))

    def grow(scale: mx.array) -> mx.array:
        index.add(x)
        index.add(x)
        return index.search(x * scale, 2)[0].sum()

    mx.eval(mx.grad(grow)(mx.array(1.0)))
    assert all(_core.is_evaluated(chunk) for chunk in index._chunks)
    assert index.ntotal == 18


def test_streams() -> None:
    index = chunked(mx.array(normal(50, 6)))
    x = mx.array(normal(4, 6))
    other = mx.new_stream(mx.cpu)
    for got, wanted in zip(index.search(x, 5, stream=other), index.search(x, 5, stream=mx.cpu), strict=True):
        assert mx.array_equal(got, wanted)
    assert mx.array_equal(index.assign(x, 5, stream=other), index.assign(x, 5))
    if mx.is_available(mx.gpu) and not _core.gpu_kernels():
        with pytest.raises(ValueError, match=r"stream=mx\.cpu"):
            index.search(x, 5, stream=mx.gpu)


def test_deterministic() -> None:
    index, xq = chunked(mx.array(normal(50, 6))), normal(9, 6, seed=3)
    first = index.search(xq, 50)
    for _ in range(5):
        for got, wanted in zip(index.search(xq, 50), first, strict=True):
            np.testing.assert_array_equal(got, wanted)
