"""Programs as users of FAISS write them: stores, loops over lists, indexes built in parts, and what objects show."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from oracles.programs import GROUPS, XB, XQ, XT, D, agree, run_both

import metalfaiss


def store_of_texts(f: Any, folder: Path) -> Any:
    """Normalised embeddings under ids of their own, which come and go."""
    index = f.IndexIDMap2(f.IndexFlatIP(D))
    vectors = XB[:50].copy()
    f.normalize_L2(vectors)
    index.add_with_ids(vectors, np.arange(100, 150))
    removed = index.remove_ids(np.array([101, 102, 999]))
    f.write_index(index, str(folder / "store.faiss"))
    index = f.read_index(str(folder / "store.faiss"))
    query = XB[7:8].copy()
    f.normalize_L2(query)
    Ds, I = index.search(query, 60)
    known = [int(i) for i in I[0] if i != -1]
    try:
        index.reconstruct(101)
        found = True
    except RuntimeError:
        found = False
    inside = type(f.downcast_index(index.index)).__name__
    return removed, index.ntotal, known[0], len(known), found, index.reconstruct(107), inside, Ds[:, :5]


def built_in_parts(f: Any, folder: Path) -> Any:
    """Lists of several files, put together in a file of their own."""
    quantizer = f.IndexFlatL2(D)
    quantizer.add(GROUPS.astype(np.float32))
    out = f.IndexIVFFlat(quantizer, D, 16)
    out.train(XT)
    f.write_index(out, str(folder / "trained.index"))
    for part in range(4):
        index = f.read_index(str(folder / "trained.index"))
        ids = np.arange(part * 500, part * 500 + 500)
        index.add_with_ids(XB[ids], ids)
        f.write_index(index, str(folder / f"block_{part}.index"))
    lists = []
    for part in range(4):
        index = f.read_index(str(folder / f"block_{part}.index"), f.IO_FLAG_MMAP)
        lists.append(index.invlists)
        index.own_invlists = False
    merged = f.OnDiskInvertedLists(out.nlist, out.code_size, str(folder / "merged.ivfdata"))
    pointers = f.InvertedListsPtrVector()
    for part in lists:
        pointers.push_back(part)
    out.ntotal = merged.merge_from_multiple(pointers.data(), pointers.size())
    out.replace_invlists(merged, True)
    merged.this.disown()
    out.nprobe = 4
    return out.ntotal, out.search(XQ, 3)


def lists_read(f: Any, folder: Path) -> Any:
    quantizer = f.IndexFlatL2(D)
    quantizer.add(GROUPS.astype(np.float32))
    index = f.IndexIVFFlat(quantizer, D, 16)
    index.own_fields = True
    quantizer.this.disown()
    index.train(XT)
    index.add(XB)
    seen, right = 0, True
    for i in range(index.nlist):
        size = index.invlists.list_size(i)
        ids = f.rev_swig_ptr(index.invlists.get_ids(i), size)
        codes = f.rev_swig_ptr(index.invlists.get_codes(i), size * index.code_size)
        right &= bool((codes.view(np.float32).reshape(-1, D) == XB[ids]).all())
        seen += size
    flat = f.IndexFlatL2(D)
    flat.add(XB)
    raw = f.rev_swig_ptr(flat.get_xb(), flat.ntotal * D).reshape(-1, D)
    copied = f.vector_to_array(flat.codes).view(np.float32).reshape(-1, D)
    return seen, right, (raw == XB).all(), (copied == XB).all()


def a_matrix_of_ones_own(f: Any, folder: Path) -> Any:
    A = np.linalg.qr(np.random.RandomState(0).randn(D, D))[0][:8].astype(np.float32)
    transform = f.LinearTransform(D, 8, True)
    f.copy_array_to_vector(A.ravel(), transform.A)
    f.copy_array_to_vector(np.arange(8, dtype=np.float32), transform.b)
    transform.is_trained = True
    transform.set_is_orthonormal()
    index = f.IndexPreTransform(transform, f.IndexFlatL2(8))
    index.add(XB)
    y = transform.apply(XQ)
    return y, transform.reverse_transform(y), transform.is_orthonormal, index.search(XQ, 3)


def streams(f: Any, folder: Path) -> Any:
    index = f.IndexIDMap(f.IndexFlatL2(D))
    index.add_with_ids(XB, np.arange(2000) * 3)
    file = io.BytesIO()
    f.write_index(index, f.PyCallbackIOWriter(file.write))
    size = file.tell()
    file.seek(0)
    first = f.read_index(f.PyCallbackIOReader(file.read))
    writer, reader = f.VectorIOWriter(), f.VectorIOReader()
    f.write_index(first, writer)
    content = f.vector_to_array(writer.data)
    f.copy_array_to_vector(content, reader.data)
    file.seek(0)
    buffered = f.BufferedIOReader(f.PyCallbackIOReader(file.read, 37), 53)
    return size, content.size, [f.read_index(r).search(XQ, 3) for r in (reader, buffered)]


def centroids_as_given(f: Any, folder: Path) -> Any:
    kmeans = f.Kmeans(D, 16, niter=5, nredo=2, seed=99, max_points_per_centroid=1000)
    objective = kmeans.train(XT, init_centroids=GROUPS.astype(np.float32))
    near, I = kmeans.index.search(XQ, 1)
    _, assigned = kmeans.assign(XQ)
    stats = kmeans.iteration_stats
    return objective, kmeans.obj, kmeans.centroids, I, assigned, near, len(stats), sorted(stats[0]), kmeans.cp.niter


PROGRAMS = [store_of_texts, built_in_parts, lists_read, a_matrix_of_ones_own, streams, centroids_as_given]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program(program: Any, tmp_path: Path) -> None:
    run_both(program, tmp_path)


# ------------------------------------------------------------------------------- what objects show

DESCRIPTIONS = [
    "Flat", "IVF16,Flat", "IVF16,SQ8", "PCA8,Flat", "SQ8", "IDMap,Flat", "IDMap2,Flat", "Flat,RFlat", "LSH8rt",
    "IVF16,FlatDedup", "MinMax,SQ8",
]  # fmt: skip
OBJECTS: dict[str, Any] = {
    **{f"index {text}": lambda f, text=text: f.index_factory(D, text) for text in DESCRIPTIONS},
    **{
        name: lambda f, name=name: getattr(f, name)()
        for name in (
            "ClusteringParameters",
            "SearchParameters",
            "SearchParametersIVF",
            "SearchParametersPreTransform",
            "IndexRefineSearchParameters",
            "ParameterSpace",
        )
    },
    "PCA": lambda f: f.PCAMatrix(D, 8),
    "OPQ": lambda f: f.OPQMatrix(D, 4),
    "ITQ": lambda f: f.ITQTransform(D, 8, True),
    "SQ": lambda f: f.ScalarQuantizer(D, f.ScalarQuantizer.QT_6bit),
    "BIVF": lambda f: f.IndexBinaryIVF(f.IndexBinaryFlat(D), D, 4),
    "Clustering": lambda f: f.Clustering(D, 4),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_attributes_have_the_values_of_faiss(name: str) -> None:
    """Every number, flag and string that FAISS's object shows before it is used."""
    ours, theirs = OBJECTS[name](metalfaiss), OBJECTS[name](faiss)
    for attribute in dir(theirs):
        value = getattr(theirs, attribute)
        if not attribute.startswith("_") and isinstance(value, bool | int | float | str):
            wanted = ord(value) if attribute == "quantizer_trains_alone" else value  # a char in C++
            agree(getattr(ours, attribute), wanted)
