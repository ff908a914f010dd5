"""Derivatives of a truncated SVD, exact for the truncated factors of a matrix of any rank.

For A (m, n) with leading triplets U, S, V and the rest A' = A - U S V^T, a change dA moves

    S by the diagonal of dP = U^T dA V,
    U by U (F o (dP S + S dP^T)) + x,    F_ij = 1 / (s_j^2 - s_i^2) off the diagonal, 0 on it,
    V by V (F o (S dP + dP^T S)) + y,

where x and y, orthogonal to U and V, solve the symmetric system

    s_j x_j - A'   y_j = X_j = ((I - U U^T) dA   V)_j
    s_j y_j - A'^T x_j = Y_j = ((I - V V^T) dA^T U)_j.

It is positive definite, because s_j exceeds the norm of A'; with x eliminated, conjugate gradients solve it for all
columns at once, at one product A^T (A P) a step. The vjp is the adjoint of the same maps. Formulas that leave A' out,
as for a matrix of rank k exactly, give wrong derivatives of U and V for every other matrix.

Derivatives of S need distinct singular values among the first k; those of U and V also need s_k > s_{k+1}. Where two of
the first k are equal, or one is zero, the undefined terms are left out. After CG_STEPS steps the relative error of the
last column is 1e-5 where s_{k+1} = 0.95 s_k, and falls fast with the ratio.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

from metalfaiss.faissmlx._operations import Operations, StreamOrDevice, on, transposed

__all__ = ["attach_derivatives"]

Factors: TypeAlias = tuple[mx.array, mx.array, mx.array]

CG_STEPS = 20
EPS = 1.2e-7  # of float32: a singular value below EPS times the largest counts as zero


def attach_derivatives(
    A: mx.array, U: mx.array, S: mx.array, Vt: mx.array, ops: Operations, stream: StreamOrDevice
) -> Factors:
    """The same U, S, Vt, with vjp and jvp of any order with respect to A, and vmap.

    S depends on A by itself, not through U and V, so that a loss of S alone costs no linear solve.

    Args:
        A (array): shape ``(..., m, n)``, float32, m >= n.
        U, S, Vt (array): its factors ``(..., m, k)``, ``(..., k)``, ``(..., k, n)``, constants for MLX.
        ops (Operations): the products that the derivatives use.
        stream (Stream or Device, optional): where the derivatives run.
    """

    vectors: Any = mx.custom_function(lambda A, U, S, Vt: (U, Vt))
    values: Any = mx.custom_function(lambda A, U, S, Vt: S)

    def differentiable(A: mx.array, U: mx.array, S: mx.array, Vt: mx.array) -> Factors:
        # Called within derivatives too, whose factors then have derivatives of their own.
        U_, Vt_ = vectors(A, U, S, Vt)
        return U_, values(A, U, S, Vt), Vt_

    def vectors_vjp(primals: Any, cotangents: Any, _: Any) -> Any:
        gradient = _vectors_vjp(ops, primals[0], differentiable(*primals), cotangents)
        return _only_for_A(primals, gradient)

    def values_vjp(primals: Any, cotangent: Any, _: Any) -> Any:
        U, _, Vt = differentiable(*primals)
        return _only_for_A(primals, ops.av(U * cotangent[..., None, :], Vt))

    def vectors_jvp(primals: Any, tangents: Any) -> Any:
        return _vectors_jvp(ops, primals[0], differentiable(*primals), _or_zeros(tangents[0], primals[0]))

    def values_jvp(primals: Any, tangents: Any) -> Any:
        U, _, Vt = differentiable(*primals)
        return mx.sum(U * ops.av(_or_zeros(tangents[0], primals[0]), transposed(Vt)), axis=-2)

    def here(rule: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with on(stream):
                return rule(*args)

        return run

    vectors.vjp(here(vectors_vjp))
    vectors.jvp(here(vectors_jvp))
    vectors.vmap(here(lambda inputs, axes: (vectors(*_batched(inputs, axes)), (0, 0))))
    values.vjp(here(values_vjp))
    values.jvp(here(values_jvp))
    values.vmap(here(lambda inputs, axes: (values(*_batched(inputs, axes)), 0)))
    return differentiable(A, U, S, Vt)


def _only_for_A(primals: Any, gradient: mx.array) -> tuple[mx.array, ...]:
    return (gradient, *map(mx.zeros_like, primals[1:]))


def _or_zeros(tangent: mx.array | None, primal: mx.array) -> mx.array:
    return mx.zeros_like(primal) if tangent is None else tangent


def _batched(inputs: Any, axes: Any) -> list[mx.array]:
    """Moves every mapped axis to the front; what is not mapped gets a leading axis of one."""
    return [
        mx.expand_dims(x, 0) if axis is None else mx.moveaxis(x, axis, 0) for x, axis in zip(inputs, axes, strict=True)
    ]


def _vectors_jvp(ops: Operations, A: mx.array, factors: Factors, dA: mx.array) -> tuple[mx.array, mx.array]:
    U, S, V = factors[0], factors[1], transposed(factors[2])
    rows, columns = S[..., :, None], S[..., None, :]
    F = _inverse_gaps(S)
    dA_V, dAt_U = ops.av(dA, V), ops.at_b(dA, U)
    dP = ops.at_b(U, dA_V)
    dPt = transposed(dP)
    x, y = _outside(ops, A, (U, S, V), dA_V - ops.av(U, dP), dAt_U - ops.av(V, dPt))
    dU = ops.av(U, F * (dP * columns + rows * dPt)) + x
    dV = ops.av(V, F * (rows * dP + dPt * columns)) + y
    return dU, transposed(dV)


def _vectors_vjp(ops: Operations, A: mx.array, factors: Factors, cotangents: tuple[mx.array, mx.array]) -> mx.array:
    U, S, V = factors[0], factors[1], transposed(factors[2])
    gU, gV = cotangents[0], transposed(cotangents[1])
    rows, columns = S[..., :, None], S[..., None, :]
    F = _inverse_gaps(S)
    M, N = ops.at_b(U, gU), ops.at_b(V, gV)
    G, H = F * M, F * N
    gP = (G + transposed(G)) * columns + rows * (H + transposed(H))
    x, y = _outside(ops, A, (U, S, V), gU - ops.av(U, M), gV - ops.av(V, N))
    return ops.av(ops.av(U, gP) + x, factors[2]) + ops.av(U, transposed(y))


def _inverse_gaps(S: mx.array) -> mx.array:
    squares = mx.square(S)
    return _divide(mx.array(1.0), squares[..., None, :] - squares[..., :, None])


def _outside(ops: Operations, A: mx.array, factors: Factors, X: mx.array, Y: mx.array) -> tuple[mx.array, mx.array]:
    """Solves the system of the module's docstring for x and y, given U, S, V, X orthogonal to U, and Y to V."""
    U, S, V = factors
    inverse = _divide(mx.array(1.0), mx.where(S[..., :1] * EPS < S, S, 0.0))[..., None, :]
    if V.shape[-1] == V.shape[-2]:  # all of the smaller side: A' is zero
        return X * inverse, mx.zeros_like(Y)

    def without_V(P: mx.array) -> mx.array:
        return P - ops.av(V, ops.at_b(V, P))

    def system(P: mx.array) -> mx.array:
        return P - mx.square(inverse) * without_V(ops.z(A, P))

    y = _conjugate_gradients(system, (Y + without_V(ops.at_b(A, X)) * inverse) * inverse)
    A_y = ops.av(A, y)
    return (X + A_y - ops.av(U, ops.at_b(U, A_y))) * inverse, y


def _conjugate_gradients(system: Callable[[mx.array], mx.array], b: mx.array) -> mx.array:
    """Solves ``system(x) = b`` for every column on its own; a column that has converged stays as it is."""
    x, r, p = mx.zeros_like(b), b, b
    rr = _dots(r, r)
    for _ in range(CG_STEPS):
        q = system(p)
        step = _divide(rr, _dots(p, q))
        x, r = x + step * p, r - step * q
        rr, before = _dots(r, r), rr
        p = r + _divide(rr, before) * p
    return x


def _dots(x: mx.array, y: mx.array) -> mx.array:
    return mx.sum(x * y, axis=-2, keepdims=True)


def _divide(x: mx.array, y: mx.array) -> mx.array:
    """x / y, and 0 where y is 0, also in derivatives."""
    zero = y == 0
    return mx.where(zero, 0.0, x / mx.where(zero, 1.0, y))
