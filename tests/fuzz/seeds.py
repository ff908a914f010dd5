"""Writes one small file of every type that faiss-cpu can write: where the fuzzer begins.

python tests/fuzz/seeds.py FOLDER
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

D = 8
INDEXES = """
Flat IDMap,Flat IDMap2,Flat PCA4,Flat PCAW4,Flat PCAR4,Flat PCAWR4,Flat OPQ2,Flat OPQ2_4,Flat ITQ,LSH ITQ4,LSH
RR4,Flat HR8,Flat Pad16,Flat L2norm,Flat Flat,RFlat SQ8,RFlat SQ8 SQ6 SQ4 SQfp16 SQbf16 SQ8_direct SQ8_direct_signed
LSH LSHr LSHrt LSHt IVF4,Flat IVF4,SQ8 IVF4,SQ4 IVF4,SQ6 IVF4,SQfp16 IVF4,SQbf16 IVF4,FlatDedup IDMap,IVF4,Flat
IDMap2,PCA4,IVF4,SQ8 IVF4(Flat),Flat PQ2x4np PQ2x4 IVF4,PQ2x4np IVF4,PQ2x4 IVF4,PQ2x4np+2x4 PQ2x4fs IVF4,PQ2x4fs
IVF4,PQ2x4fsr RQ2x4 LSQ2x4 PRQ2x2x4 PLSQ2x2x4 RQ2x4_Nqint8 RQ2x4_Ncqint8 RQ2x4_Nrq2x4 IVF4,RQ2x4 IVF4,LSQ2x4
IVF4,PRQ2x2x4 IVF4,PLSQ2x2x4 RQ2x4fs_Nrq2x4 LSQ2x4fs_Nlsq2x4 PRQ2x2x4fs_Nrq2x4 PLSQ2x2x4fs_Nlsq2x4
IVF4,RQ2x4fs_Nrq2x4 IVF4,LSQ2x4fs_Nlsq2x4 IVF4,PRQ2x2x4fs_Nrq2x4 IVF4,PLSQ2x2x4fs_Nlsq2x4 HNSW4,Flat HNSW4,SQ8
HNSW4,PQ2x4np HNSW4,2+2x4 IVF4_HNSW4,Flat NSG4,Flat NSG4,SQ8 RaBitQ RaBitQ2 RaBitQfs IVF4,RaBitQ IVF4,RaBitQ2
IVF4,RaBitQfs ZnLattice2x10_4 IVF4,ITQ4,SH4 IVF4,ITQ4,SH IMI2x2,Flat Residual4,PQ2x4 FlatL2Panorama2 FlatIPPanorama2
IVF4,FlatPanorama2 HNSW4,FlatPanorama2 MinMax,SQ8 MinMaxFP16,SQ8 EDEN4 IVF4,EDEN4 HNSW4,RaBitQ IVF4_RQ2x4,Flat
IVF4,Flat,RFlat IVF16,Flat Flat,Refine(SQ8)
"""
BINARY = "BFlat BIVF4 BHNSW4 IDMap,BFlat IDMap2,BFlat IDMap2,BIVF4 BHash4 BHash2x4"
METRICS = {"L1": 2, "Linf": 3, "Lp": 4, "Canberra": 20, "BrayCurtis": 21, "JensenShannon": 22, "Jaccard": 23}


def indexes() -> Iterator[tuple[str, Any]]:
    x = np.random.default_rng(1).random((64, D), dtype=np.float32)
    for factory in INDEXES.split():
        for metric, name in ((faiss.METRIC_L2, ""), (faiss.METRIC_INNER_PRODUCT, "_ip")):
            try:
                index = faiss.index_factory(D, factory, metric)
                yield f"{factory}{name}_empty", index
                index.train(x)
                index.add_with_ids(x[:20], np.arange(100, 120)) if "IDMap" in factory else index.add(x[:20])
                yield factory + name, index
            except RuntimeError as e:
                print(factory, name, str(e).splitlines()[-1][:100], file=sys.stderr)
    for name, metric in METRICS.items():
        index = faiss.IndexFlat(D, metric)
        index.metric_arg = 3.0
        index.add(x[:2])
        yield f"Flat_{name}", index
    for kind in (1, 2):
        index = faiss.index_factory(D, "IVF4,Flat")
        index.train(x)
        index.set_direct_map_type(kind)
        index.add(x[:10])
        yield f"IVF4_direct_map{kind}", index
    index = faiss.IndexIVFIndependentQuantizer(
        faiss.IndexFlatL2(D), faiss.index_factory(4, "IVF4,Flat"), faiss.PCAMatrix(D, 4)
    )
    index.train(x)
    index.add(x[:9])
    yield "IVFIndependentQuantizer", index
    index = faiss.IndexNNDescentFlat(D, 8)
    index.add(np.random.default_rng(1).random((150, D), dtype=np.float32))
    yield "NNDescent8", index


def rare_indexes() -> Iterator[tuple[str, Any]]:
    """What the factory does not make."""
    x = np.random.default_rng(1).random((64, D), dtype=np.float32)
    flat = faiss.IndexFlatL2(D)
    makers = {
        "MultiIndexQuantizer": lambda: faiss.MultiIndexQuantizer(D, 2, 2),
        "ResidualCoarseQuantizer": lambda: faiss.ResidualCoarseQuantizer(D, 2, 2),
        "IVFPQR": lambda: faiss.IndexIVFPQR(flat, D, 4, 2, 4, 2, 4),
        "HNSW2Level": lambda: faiss.IndexHNSW2Level(flat, 4, 2, 4),
        "HNSWCagra": lambda: faiss.IndexHNSWCagra(D, 4),
        "HNSW": lambda: faiss.IndexHNSW(flat, 4),
    }
    for name, make in makers.items():
        index = make()
        if "HNSW" not in name:
            index.train(x)
        if "Quantizer" not in name and "HNSW" not in name:
            index.add(x[:20])
        yield name, index


def binary_indexes() -> Iterator[tuple[str, Any]]:
    x = np.random.default_rng(1).integers(0, 256, (64, 4), dtype=np.uint8)
    for factory in BINARY.split():
        index = faiss.index_binary_factory(32, factory)
        yield f"{factory}_empty", index
        index.train(x)
        index.add_with_ids(x[:20], np.arange(100, 120)) if "IDMap" in factory else index.add(x[:20])
        yield factory, index
    yield "BHNSWCagra", faiss.IndexBinaryHNSWCagra(32, 4)
    yield "BFromFloat", faiss.IndexBinaryFromFloat(faiss.IndexFlatL2(32))


def transforms() -> Iterator[tuple[str, Any]]:
    x = np.random.default_rng(1).random((64, D), dtype=np.float32)
    opq = faiss.OPQMatrix(D, 2)
    opq.pq = quantizer = faiss.ProductQuantizer(D, 2, 4)
    opq.niter, quantizer.this = 1, quantizer.this
    for transform in (
        faiss.PCAMatrix(D, 4, -0.5, True),
        faiss.RandomRotationMatrix(D, 4),
        faiss.LinearTransform(D, 4),
        opq,
        faiss.ITQMatrix(D),
        faiss.ITQTransform(D, 4, True),
        faiss.HadamardRotation(D),
        faiss.RemapDimensionsTransform(D, 12, True),
        faiss.NormalizationTransform(D, 2.0),
        faiss.CenteringTransform(D),
    ):
        if not transform.is_trained and type(transform) is not faiss.LinearTransform:
            transform.train(x)
        yield type(transform).__name__, transform


def lists() -> Iterator[tuple[str, Any]]:
    for name, filled in (("full", 4), ("sparse", 1)):
        array = faiss.ArrayInvertedLists(4, 8)
        for i in range(filled):
            array.add_entry(i, 7, faiss.swig_ptr(np.arange(8, dtype=np.uint8)))
        yield f"ArrayInvertedLists_{name}", array
    with tempfile.TemporaryDirectory() as folder:
        on_disk = faiss.OnDiskInvertedLists(2, 8, f"{folder}/lists")
        on_disk.add_entry(1, 7, faiss.swig_ptr(np.arange(8, dtype=np.uint8)))
        yield "OnDiskInvertedLists", on_disk
    yield "null", None


def files() -> Iterator[tuple[str, bytes]]:
    for name, index in indexes():
        yield name, faiss.serialize_index(index).tobytes()
    for name, index in rare_indexes():
        yield name, faiss.serialize_index(index).tobytes()
    for name, index in binary_indexes():
        yield name, faiss.serialize_index_binary(index).tobytes()
    for name, transform in transforms():
        writer = faiss.VectorIOWriter()
        faiss.write_VectorTransform(transform, writer)
        yield name, faiss.vector_to_array(writer.data).tobytes()
    for name, found in lists():
        writer = faiss.VectorIOWriter()
        faiss.write_InvertedLists(found, writer)
        yield name, faiss.vector_to_array(writer.data).tobytes()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files():
        (folder / name.replace(",", "_").replace("(", "_").replace(")", "")).write_bytes(content)
