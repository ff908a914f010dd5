"""Indexes that faiss-cpu makes, by name, for the tests of files."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

faiss.omp_set_num_threads(1)  # its threads wait actively
D = 16
FLAT = ["Flat", "IDMap,Flat", "IDMap2,Flat", "Flat,RFlat", "PCA4,Flat", "IDMap2,L2norm,PCAR8,Flat", "RR8,Flat,RFlat"]
FLAT += ["LSH", "LSHrt", "ITQ8,LSHt"]
IVF = ["IVF8,Flat", "IVF8,SQ8", "IVF8,SQ6", "IVF8,SQfp16", "SQ8", "SQ4", "SQbf16", "IDMap,SQ8", "IDMap2,IVF8,Flat"]
IVF += ["PCA8,IVF4,SQ4", "SQ8,RFlat", "IVF8(IVF2,Flat),Flat", "IVF8(SQ8),Flat"]


def vectors(n: int, seed: int = 0, d: int = D) -> Any:
    return np.random.default_rng(seed).random((n, d), dtype=np.float32)


def made(factory: str, metric: int = faiss.METRIC_L2, n: int = 300) -> Any:
    """An index of faiss-cpu, trained, with n vectors; with ids of its own if it takes them."""
    index = faiss.index_factory(D, factory, metric)
    index.train(vectors(300, 1))
    if "IDMap" in factory or factory.startswith("IVF"):
        index.add_with_ids(vectors(n), np.arange(n) * 3 + 5)
    elif n:
        index.add(vectors(n))
    return index


def content(index: Any) -> bytes:
    found: bytes = faiss.serialize_index(index).tobytes()
    return found
