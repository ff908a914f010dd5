"""Hamming distances against a count of bits, and against FAISS."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import mlx.core as mx
import numpy as np
import pytest

from metalfaiss import _core
from metalfaiss.hamming import (
    binary_to_real,
    bitvecs2fvecs,
    fvecs2bitvecs,
    hammings,
    knn_hamming,
    pack_bitstrings,
    real_to_binary,
    unpack_bitstrings,
)

WORST = 2**31 - 1


def codes(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8) & rng.integers(0, 256, shape, dtype=np.uint8)  # ties


def oracle(xq, xb):
    return np.unpackbits(xq[:, None] ^ xb[None], axis=-1).sum(-1, dtype=np.int32)


def nearest(distances, k, rows=None):
    nq, nb = distances.shape
    rows = np.arange(nb) if rows is None else rows
    order = rows[np.argsort(distances[:, rows], axis=1, kind="stable")][:, :k]
    D, I = np.full((nq, k), WORST, np.int32), np.full((nq, k), -1, np.int64)
    I[:, : order.shape[1]] = order
    D[:, : order.shape[1]] = np.take_along_axis(distances, order, 1)
    return D, I


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        a = np.array(a)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 16, 17, 31, 32, 33, 63, 64, 70, 128])
@pytest.mark.parametrize(("nq", "nb", "k"), [(1, 40, 3), (3, 300, 400), (20, 1030, 10)])
def test_sizes(simd_level, rng, size, nq, nb, k):
    xq, xb = codes(rng, nq, size), codes(rng, nb, size)
    distances = oracle(xq, xb)
    same(knn_hamming(xq, xb, k), nearest(distances, k))
    same([hammings(xq, xb)], [distances])
    rows = np.flatnonzero(rng.random(nb) < 0.3)
    same(_core.knn_hamming(mx.array(xq), mx.array(xb), k, mx.array(rows)), nearest(distances, k, rows))
    radius = int(np.median(distances))
    for chosen in (None, rows):
        lims, D, I = _core.range_search_hamming(
            mx.array(xq), mx.array(xb), radius, None if chosen is None else mx.array(chosen)
        )
        inside = distances < radius
        if chosen is not None:
            inside[:, np.setdiff1d(np.arange(nb), chosen)] = False
        same([lims], [np.concatenate([[0], inside.sum(1).cumsum()])])
        same([D, I], [distances[inside].astype(np.float32), np.nonzero(inside)[1]])


@pytest.mark.parametrize("threads", [1, 3])
def test_divided_between_threads(simd_level, rng, threads):
    before = _core.num_threads()
    xb = codes(rng, 60000, 16)
    try:
        _core.set_num_threads(threads)
        for nq, k in ((2, 5), (9, 200)):
            xq = codes(rng, nq, 16)
            same(knn_hamming(xq, xb, k), nearest(oracle(xq, xb), k))
    finally:
        _core.set_num_threads(before)


def test_huge_codes(simd_level, rng):
    xq, xb = codes(rng, 9, 8200), 255 - codes(rng, 12, 8200)  # distances beyond 16 bits are possible
    xq[0], xb[0] = 0, 255
    distances = oracle(xq, xb)
    assert distances[0, 0] == 65600
    same(knn_hamming(xq, xb, 12), nearest(distances, 12))
    same([hammings(xq, xb)], [distances])


def test_as_faiss(rng):
    xq, xb = codes(rng, 30, 32), codes(rng, 2000, 32)
    D, I = knn_hamming(xq, xb, 10)
    for variant in ("hc", "mc"):
        np.testing.assert_array_equal(faiss.knn_hamming(xq, xb, 10, variant)[0], D)
        same(knn_hamming(xq, xb, 10, variant), (D, I))


def test_empty():
    zero = np.zeros((0, 4), np.uint8)
    three = np.zeros((3, 4), np.uint8)
    same(knn_hamming(zero, three, 2), nearest(np.zeros((0, 3), np.int32), 2))
    same(knn_hamming(three, zero, 2), nearest(np.zeros((3, 0), np.int32), 2))
    assert hammings(zero, three).shape == (0, 3)
    assert hammings(three, zero).shape == (3, 0)


def test_batches_strides_and_transforms(rng):
    xq, xb = codes(rng, 2, 3, 8), codes(rng, 50, 16)[::-2, ::2]
    expected = [nearest(oracle(q, xb), 4) for q in xq]
    want = [np.stack(part) for part in zip(*expected, strict=True)]
    q, b = mx.array(xq), mx.array(np.ascontiguousarray(xb))
    same(knn_hamming(q, xb, 4), want)
    same(mx.vmap(lambda x: knn_hamming(x, b, 4))(q), want)
    same(mx.compile(lambda x: knn_hamming(x, b, 4))(q), want)
    same(mx.compile(lambda x: knn_hamming(x, b, 4), shapeless=True)(q), want)
    all_ = np.stack([oracle(x, xb) for x in xq])
    same([hammings(q, b)], [all_])
    same([mx.vmap(lambda x: hammings(x, b))(q)], [all_])
    backwards = mx.array(np.array(q))[:, ::-1, ::-1]
    same(knn_hamming(backwards[0], b, 4), nearest(oracle(xq[0, ::-1, ::-1], xb), 4))


def test_concurrent_searches(rng):
    xq, xb = codes(rng, 40, 24), codes(rng, 3000, 24)
    expected = knn_hamming(xq, xb, 5)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: knn_hamming(xq, xb, 5), range(16)):
            same(found, expected)


def test_errors():
    x = np.zeros((2, 4), np.uint8)
    with pytest.raises(TypeError, match=r"\[knn_hamming\] xq must be an array of uint8. Received float32."):
        knn_hamming(x.astype(np.float32), x, 1)
    with pytest.raises(TypeError, match=r"xb must be an array of uint8. Received list"):
        knn_hamming(x, [[1]], 1)
    with pytest.raises(TypeError, match=r"k must be an int"):
        knn_hamming(x, x, 1.5)
    with pytest.raises(ValueError, match=r"k must be at least 1 and less than 2.31. Received 0"):
        knn_hamming(x, x, 0)
    with pytest.raises(ValueError, match=r"same number of columns"):
        hammings(x, x[:, :2])
    with pytest.raises(ValueError, match=r"from 1 to"):
        hammings(x[:, :0], x[:, :0])
    with pytest.raises(ValueError, match=r"variant must be 'hc' or 'mc'. Received 'x'"):
        knn_hamming(x, x, 1, "x")
    with pytest.raises(ValueError, match=r"pass stream=mx.cpu"):
        knn_hamming(x, x, 1, stream=mx.gpu)


@pytest.mark.parametrize("d", [8, 13, 64])
def test_bits_of_vectors(rng, d):
    x = rng.integers(-2, 3, (7, d)).astype(np.float32)  # zeros among them
    reference = np.empty((7, (d + 7) // 8), np.uint8)
    faiss.fvecs2bitvecs(faiss.swig_ptr(x), faiss.swig_ptr(reference), d, 7)
    for to_bits, expected in ((fvecs2bitvecs, reference), (real_to_binary, np.packbits(x > 0, 1, "little"))):
        same([to_bits(x)], [expected])
        same([to_bits(mx.array(x))], [expected])
    real = np.empty(8 * reference.size, np.float32)
    faiss.binary_to_real(real.size, faiss.swig_ptr(reference), faiss.swig_ptr(real))
    same([binary_to_real(reference)], [real.reshape(7, -1)])
    same([binary_to_real(mx.array(reference))], [real.reshape(7, -1)])
    same([bitvecs2fvecs(reference, d)], [np.where(x >= 0, 1, -1).astype(np.float32)])
    if d % 8 == 0:
        back = np.empty_like(reference)
        faiss.real_to_binary(x.size, faiss.swig_ptr(x), faiss.swig_ptr(back))
        same([real_to_binary(x)], [back])
    with pytest.raises(ValueError, match=r"must have shape"):
        fvecs2bitvecs(x[0])
    with pytest.raises(ValueError, match=r"must have shape"):
        binary_to_real(reference[0])


@pytest.mark.parametrize("nbit", [1, 5, 8, 13, 31, [1, 9, 2, 20, 0, 7]], ids=str)
def test_bitstrings(rng, nbit):
    widths = np.broadcast_to(nbit, 6)
    a = np.stack([rng.integers(0, 2**w, 9) for w in widths], axis=1).astype(np.int32)
    packed = pack_bitstrings(a, nbit)
    same([packed], [faiss.pack_bitstrings(a, nbit)])
    unpacked = unpack_bitstrings(packed, nbit) if isinstance(nbit, list) else unpack_bitstrings(packed, 6, nbit)
    same([unpacked], [a])


def test_bitstring_errors():
    with pytest.raises(ValueError, match=r"nbit must be from 0 to 32"):
        pack_bitstrings(np.zeros((1, 2), int), 33)
    with pytest.raises(ValueError, match=r"a must have shape"):
        pack_bitstrings(np.zeros(2, int), 3)
    with pytest.raises(ValueError, match=r"b must have shape \(n, >= 3\)"):
        unpack_bitstrings(np.zeros((1, 2), np.uint8), 3, 8)
