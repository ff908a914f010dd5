"""FAISS's functions on tables and bits, and the C++ forms of calls with codes and lists: as FAISS, through swig_ptr."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from oracles.both import BOTH, CODES, X, Y, same
from test_pointers import pointed, ranged, written
from test_pointers_indexed import several

import metalfaiss

ORDER = np.array([3, 1, 2, 0, 9, 8, 7, 6, 63, 62, 5, 5], dtype=np.int32)
LISTED = np.array([5, 3, 4, 1, 2, 9, 8]), np.array([1, 1, 2, 2, 2, 2, 3], dtype=np.float32)  # FAISS leaves a last tie


def changed(f: Any, array: Any, call: Any) -> Any:
    own = array.copy()
    returned = call(f.swig_ptr(own))
    return own if returned is None else (own, returned)


def merged(f: Any, keep_min: bool) -> Any:
    draw = np.random.default_rng(0)
    D0, D1 = (np.sort(draw.integers(0, 20, (5, 4)), axis=1).astype(np.float32) for _ in range(2))
    if not keep_min:
        D0, D1 = D0[:, ::-1].copy(), D1[:, ::-1].copy()
    I0, I1 = np.arange(20).reshape(5, 4), np.arange(20).reshape(5, 4) + 50
    I0[2, 2:], I1[3, 3:] = -1, -1
    count = f.merge_result_table_with(5, 4, *pointed(f, I0, D0, I1, D1), keep_min, 100)
    return D0, I0, count


def bitstring(f: Any) -> Any:
    code = np.zeros(9, np.uint8)
    writer = f.BitstringWriter(f.swig_ptr(code), 9)
    numbers = [(5, 3), (1000, 11), (3, 2), (2**40 + 17, 42), (1, 1), (255, 8)]
    for number in numbers:
        writer.write(*number)
    reader = f.BitstringReader(f.swig_ptr(code), 9)
    return code, writer.i, [reader.read(width) for _, width in numbers], reader.i, reader.code_size


CALLS = {
    "byte_rand": lambda f: written(f, 100, "uint8", lambda o: f.byte_rand(o, 100, 5)),
    "int64_rand_max": lambda f: written(f, 100, "int64", lambda o: f.int64_rand_max(o, 100, 77, 5)),
    "rand_perm_splitmix64": lambda f: written(f, 50, "int32", lambda o: f.rand_perm_splitmix64(o, 50, 5)),
    "fvec_argsort_parallel": lambda f: written(
        f, 54, "uint64", lambda o: f.fvec_argsort_parallel(54, f.swig_ptr(X), o)
    ),
    "ivec_hist": lambda f: several(f, (8, "int32"), call=lambda o: f.ivec_hist(12, f.swig_ptr(ORDER), 8, o)),
    "bincode_hist": lambda f: written(f, 64, "int32", lambda o: f.bincode_hist(30, 64, f.swig_ptr(CODES), o)),
    "ivec_checksum": lambda f: f.ivec_checksum(12, f.swig_ptr(ORDER)),
    "bvec_checksum": lambda f: f.bvec_checksum(239, f.swig_ptr(CODES)),
    "bvecs_checksum": lambda f: written(f, 30, "uint64", lambda o: f.bvecs_checksum(30, 8, f.swig_ptr(CODES), o)),
    "bitvec_shuffle": lambda f: written(
        f, (30, 2), "uint8", lambda o: f.bitvec_shuffle(30, 64, 12, *pointed(f, ORDER, CODES), o)
    ),
    "fvec2bitvec": lambda f: written(f, 7, "uint8", lambda o: f.fvec2bitvec(f.swig_ptr(X), o, 50)),
    "popcounts": lambda f: [f.popcount64(2**64 - 1), f.popcount32(255), f.popcount64(0)],
    "ranklist_handle_ties": lambda f: changed(
        f, LISTED[0], lambda o: f.ranklist_handle_ties(7, o, f.swig_ptr(LISTED[1]))
    ),
    "matrix_qr": lambda f: changed(f, Y[:4], lambda o: f.matrix_qr(6, 4, o)),
    "merge_result_table_with": lambda f: (merged(f, True), merged(f, False)),
    "bit strings": bitstring,
    "metric_type_from_int": lambda f: [f.metric_type_from_int(m) for m in (0, 1, 23)],
    "check_openmp": lambda f: [f.check_openmp(), f.getmillisecs() < f.getmillisecs() + 1],
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_on_tables(name: str) -> None:
    same(CALLS[name](metalfaiss), CALLS[name](faiss))


def test_bad_calls_of_tables() -> None:
    code = np.zeros(2, np.uint8)
    for error, call in (
        (ValueError, lambda: metalfaiss.BitstringWriter(code, 2).write(1, 17)),
        (ValueError, lambda: metalfaiss.BitstringReader(code, 2).read(-1)),
        (TypeError, lambda: metalfaiss.BitstringReader(code, 3)),
        (ValueError, lambda: metalfaiss.bitvec_shuffle(30, 8, 12, ORDER, CODES, np.zeros(60, np.uint8))),
        (RuntimeError, lambda: metalfaiss.metric_type_from_int(99)),
    ):
        with pytest.raises(error, match=r"^\["):
            call()


# ---------------------------------------------------------------------------- calls with codes and lists


def of_codes(f: Any) -> Any:
    index = f.index_factory(6, "SQ8")
    index.train(Y)
    size = index.sa_code_size()
    codes = written(f, (40, size), "uint8", lambda o: index.sa_encode_c(40, f.swig_ptr(Y), o))
    index.add_sa_codes_c(40, f.swig_ptr(codes), None)
    back = written(f, (40, 6), "f", lambda o: index.sa_decode_c(40, f.swig_ptr(codes), o))
    keys = np.array([3, 1, 39])
    some = written(f, (3, 6), "f", lambda o: index.reconstruct_batch_c(3, f.swig_ptr(keys), o))
    found = several(
        f, ((9, 2), "f"), ((9, 2), "int64"), ((9, 2, 6), "f"),
        call=lambda D, I, R: index.search_and_reconstruct_c(9, f.swig_ptr(X), 2, D, I, R),
    )  # fmt: skip
    return codes, back, some, found[:3], index.ntotal


def of_lists(f: Any) -> Any:
    quantizer = f.IndexFlatL2(6)
    quantizer.add(Y[:4])
    index = f.IndexIVFFlat(quantizer, 6, 4)
    index.train(Y)
    index.add(Y)
    index.nprobe = 2
    probes = np.array([[i % 4, (i + 1) % 4] for i in range(9)])
    near = np.zeros((9, 2), np.float32)
    given = several(
        f, ((9, 3), "f"), ((9, 3), "int64"),
        call=lambda D, I: index.search_preassigned_c(9, *pointed(f, X), 3, *pointed(f, probes, near), D, I, False),
    )  # fmt: skip
    within = ranged(
        f, 9, lambda r: index.range_search_preassigned_c(9, f.swig_ptr(X), 9.0, *pointed(f, probes, near), r)
    )
    codes = several(
        f, ((9, 2), "f"), ((9, 2), "int64"), ((9, 2, 25), "uint8"),
        call=lambda D, I, R: index.search_and_return_codes_c(9, f.swig_ptr(X), 2, D, I, R, True),
    )  # fmt: skip
    index.make_direct_map()
    index.update_vectors_c(2, *pointed(f, np.array([5, 7]), X[:2].copy()))
    return given[:2], within, codes[:3], index.search(X[:2], 1)[1]


def of_transforms(f: Any) -> Any:
    centering = f.CenteringTransform(6)
    centering.train_c(40, f.swig_ptr(Y))
    return written(f, (9, 6), "f", lambda o: centering.reverse_transform_c(9, f.swig_ptr(X), o))


@pytest.mark.parametrize("program", [of_codes, of_lists, of_transforms], ids=lambda program: program.__name__)
def test_c_calls(program: Any) -> None:
    same(program(metalfaiss), program(faiss))


def test_pairs_are_refused() -> None:
    index = metalfaiss.index_factory(6, "IVF4,Flat")
    with pytest.raises(NotImplementedError, match=r"search_preassigned_c\] store_pairs must be False"):
        index.search_preassigned_c(9, X, 3, None, None, None, None, True)


@BOTH
def test_who_owns_a_refining_index(lib: Any) -> None:
    assert lib.index_factory(6, "SQ8,RFlat").own_refine_index
