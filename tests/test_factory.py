"""Descriptions of indexes: every form of FAISS's grammar is read, what is built is what FAISS builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import pytest

import metalfaiss
from metalfaiss.factory import rules, table
from metalfaiss.factory.build import is_built
from metalfaiss.factory.grammar import Inverted, Leaf, Refined, Transformed, Wrapped, parse, parse_binary, parts

D = 64
IP = metalfaiss.METRIC_INNER_PRODUCT

BUILT = [
    "Flat",
    "IDMap,Flat",
    "Flat,IDMap",
    "IDMap2,Flat",
    "Flat,IDMap2",
    "PCA16,Flat",
    "PCAW16,Flat",
    "PCAR16,Flat",
    "PCAWR16,Flat",
    "L2norm,Flat",
    "L2Norm,Flat",
    "RR,Flat",
    "RR32,Flat",
    "RR80,Flat",
    "HR,Flat",
    "HR7,Flat",
    "ITQ,Flat",
    "ITQ24,Flat",
    "OPQ4,Flat",
    "OPQ4_32,Flat",
    "Pad80,Flat",
    "Pad10,Flat",
    "PCA40,RR,L2norm,Flat",
    "Flat,RFlat",
    "Flat,Refine(Flat)",
    "PCA16,Flat,Refine(PCA32,Flat)",
    "PCA16,Flat,RFlat,IDMap",
    "SQ8",
    "SQ6",
    "SQ4",
    "SQfp16",
    "SQbf16",
    "SQ8_direct",
    "SQ8_direct_signed",
    "LSH",
    "LSH32",
    "LSH32r",
    "LSH32t",
    "LSHrt",
    "IVF10,Flat",
    "IVF1k,Flat",
    "IVF10(Flat),Flat",
    "IVF10(PCA16,Flat),Flat",
    "IVF10(IVF4,Flat),SQ8",
    "IVF10,SQ8",
    "IVF10,SQfp16",
    "OPQ4_32,IVF10,SQ4",
    "IDMap,IVF10,Flat",
    "IVF10,SQ8,RFlat",
    "IVF10,SQ8,Refine(SQfp16)",
    "IVF10,FlatDedup",
    "IVF10,ITQ16,SH",
    "IVF10,PCA16,SH1.5c",
    "IVF10,PCAR16,SH-1e10g",
    "MinMax,SQ8",
    "MinMaxFP16,SQ4",
]
PLANNED = [
    "FlatL2Panorama4",
    "FlatL2Panorama4_256",
    "ZnLattice4x10_4",
    "SQ0",
    "SQtqmse4",
    "SQtq2",
    "PQ8",
    "PQ8x4",
    "PQ8np",
    "PQ8x4np",
    "PQ8x4fs",
    "PQ8x4fs_64",
    "RQ3x4",
    "RQ1x8_2x4",
    "RQ3x4_Nqint8",
    "RCQ2x4",
    "LSQ3x4",
    "LSQ3x4_Nfloat",
    "LSCQ2x4",
    "PRQ2x2x4",
    "PLSQ2x2x4_Nqint4",
    "RQ4x4fs_Nrq2x4",
    "RQ4x4fs_32_Nrq2x4",
    "LSQ4x4fs_Nlsq2x4",
    "PRQ2x2x4fs_Nrq2x4",
    "PLSQ2x2x4fs_32_Nlsq2x4",
    "RaBitQ",
    "RaBitQ4",
    "RaBitQfs",
    "RaBitQfs2_64",
    "EDEN",
    "EDEN4",
    "EDEN4BIASED",
    "EDEN2BIAS",
    "HNSW",
    "HNSW16",
    "HNSW,Flat",
    "HNSW16_Flat",
    "HNSW16,PQ8",
    "HNSW16,PQ8x4np",
    "HNSW16_SQ8",
    "HNSW16,SQtq4",
    "HNSW16,FlatPanorama",
    "HNSW16,FlatPanorama4",
    "HNSW16,RaBitQ",
    "HNSW16,10+PQ8",
    "HNSW16,2x4+PQ8",
    "NSG",
    "NSG16",
    "NSG16,Flat",
    "NSG16_PQ8",
    "NSG16,SQ8",
    "IVF10_HNSW,Flat",
    "IVF10_HNSW16,Flat",
    "IVF10_NSG16,Flat",
    "IVF10(RCQ2x4),Flat",
    "IMI2x4,Flat",
    "IMI2x4,PQ8",
    "Residual2x4,PQ8",
    "Residual10,PQ8x4",
    "IVF10,FlatPanorama",
    "IVF10,FlatPanorama4_64",
    "IVF10,SQ0",
    "IVF10,SQtq3",
    "IVF10,PQ8",
    "IVF10,PQ8x4np",
    "IVF10,PQ8+8",
    "IVF10,PQ8x4fs",
    "IVF10,PQ8x4fsr",
    "IVF10,PQ8x4fsr_64",
    "IVF10,RQ3x4",
    "IVF10,LSQ3x4_Nqint8",
    "IVF10,PRQ2x2x4",
    "IVF10,PLSQ2x2x4",
    "IVF10,RQ4x4fs_Nrq2x4",
    "IVF10,LSQ4x4fsr_32_Nlsq2x4",
    "IVF10,PRQ2x2x4fsr_Nrq2x4",
    "IVF10,PLSQ2x2x4fs_Nlsq2x4",
    "IVF10,RaBitQ",
    "IVF10,RaBitQ3",
    "IVF10,RaBitQfs",
    "IVF10,RaBitQfs2_64",
    "IVF10,EDEN3BIASED",
    "PCA32,IVF10,PQ8,RFlat",
    "Flat,RefinePanorama(FlatL2Panorama4)",
    "IVF65536(IVF256,Flat),PQ8",
]
BINARY_BUILT = ["BFlat", "BIVF10", "BFlat,IDMap", "IDMap,BFlat", "BFlat,IDMap2", "IDMap2,BIVF10", "BHash8"]
BINARY_BUILT += ["BHash3x4"]
BINARY_PLANNED = ["BIVF10_HNSW16", "BHNSW16"]


def subindexes(index: Any) -> list[Any]:
    names = ("index", "base_index", "refine_index", "quantizer")
    return [getattr(index, name) for name in names if getattr(index, name, None) is not None]


def structure(index: Any, module: Any) -> list[Any]:
    """Class names and attributes, of an index and of what it is made of."""
    if module is faiss:
        index = (
            faiss.downcast_IndexBinary(index) if isinstance(index, faiss.IndexBinary) else faiss.downcast_index(index)
        )
    told = [type(index).__name__, index.d, index.is_trained]
    names = ("metric_type", "nlist", "nprobe", "code_size", "nbits", "rotate_data", "train_thresholds", "k_factor")
    told += [getattr(index, name, None) for name in (*names, "by_residual")]
    alone = getattr(index, "quantizer_trains_alone", None)
    told.append(ord(alone) if isinstance(alone, str) else alone)  # a character in FAISS
    told.append(index.sq.qtype if hasattr(index, "sq") else None)
    told.append(index.cp.spherical if hasattr(index, "cp") else None)
    if hasattr(index, "chain"):
        chain = [index.chain.at(i) for i in range(index.chain.size())]
        chain = [faiss.downcast_VectorTransform(t) for t in chain] if module is faiss else chain
        attributes = ("d_in", "d_out", "eigen_power", "random_rotation", "have_bias", "M", "do_pca", "seed", "norm")
        told += [(type(t).__name__, *(getattr(t, name, None) for name in attributes)) for t in chain]
    return told + [structure(sub, module) for sub in subindexes(index)]


@pytest.mark.parametrize("description", BUILT)
def test_what_is_built_is_what_faiss_builds(description: str) -> None:
    for metric in (faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT):
        if "LSH" in description and metric == faiss.METRIC_INNER_PRODUCT:
            with pytest.raises(RuntimeError, match="METRIC_L2"):
                metalfaiss.index_factory(D, description, metric)
            continue
        ours, theirs = (module.index_factory(D, description, metric) for module in (metalfaiss, faiss))
        assert structure(ours, metalfaiss) == structure(theirs, faiss)
        again = metalfaiss.index_factory(D, metalfaiss.reverse_index_factory(ours), metric)
        assert structure(again, metalfaiss) == structure(ours, metalfaiss)


@pytest.mark.parametrize("description", PLANNED)
def test_what_is_planned_is_named(description: str) -> None:
    faiss.index_factory(D, description)
    tree = parse(description)
    planned = [part.rule.builds for part in parts(tree) if not is_built(part.rule)]
    assert planned
    with pytest.raises(NotImplementedError, match="is not built yet"):
        metalfaiss.index_factory(D, description)


def test_an_error_has_the_description() -> None:
    with pytest.raises(NotImplementedError, match=r"IndexHNSWFlat is not built yet. Received 'HNSW32'."):
        metalfaiss.index_factory(D, "HNSW32")


@pytest.mark.parametrize("description", BINARY_BUILT)
def test_binary_indexes(description: str) -> None:
    ours, theirs = (module.index_binary_factory(D, description) for module in (metalfaiss, faiss))
    assert structure(ours, metalfaiss)[:2] == structure(theirs, faiss)[:2]
    again = metalfaiss.index_binary_factory(D, metalfaiss.reverse_index_factory(ours))
    assert type(again) is type(ours)


@pytest.mark.parametrize("description", BINARY_PLANNED)
def test_binary_indexes_that_are_planned(description: str) -> None:
    faiss.index_binary_factory(D, description)
    with pytest.raises(NotImplementedError, match="is not built yet"):
        metalfaiss.index_binary_factory(D, description)


def test_every_form_is_tried() -> None:
    tried = {part.rule for text in (*BUILT, *PLANNED, "FlatIPPanorama4") for part in parts(parse(text))}
    tried |= {part.rule for text in (*BINARY_BUILT, *BINARY_PLANNED) for part in parts(parse_binary(text))}
    assert not set(rules.RULES) - tried


@pytest.mark.parametrize(
    "description",
    ["", "Flot", "Flat,", ",Flat", "PCA16", "IVF10", "IVF10,", "IVF,Flat", "IVF10,Nonsense", "IVF10(Flat,Flat",
     "IVF10)", "HNSW16,Nonsense", "Residual10,Flat", "Flat,Refine()", "IDMap", "Flat,Flat", "flat", "PQ8x4fsx",
     "EDEN9", "IVF10()"],
)  # fmt: skip
def test_no_description(description: str) -> None:
    with pytest.raises(RuntimeError):
        faiss.index_factory(D, description)
    with pytest.raises(RuntimeError):
        metalfaiss.index_factory(D, description)


def test_errors() -> None:
    for text in ("Flat", "BNonsense", "", "IDMap", "BFlat2"):
        with pytest.raises(RuntimeError):
            metalfaiss.index_binary_factory(D, text)
    with pytest.raises(TypeError, match="str"):
        metalfaiss.index_factory(D, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        metalfaiss.index_factory(0, "Flat")
    for factory, text in ((metalfaiss.index_factory, "Flat"), (metalfaiss.index_binary_factory, "BFlat")):
        with pytest.raises(NotImplementedError, match="own_invlists"):
            factory(D, text, own_invlists=False)
    with pytest.raises(NotImplementedError, match="index_factory makes"):
        metalfaiss.reverse_index_factory(object())


def test_trees() -> None:
    tree = parse("OPQ4_32,IVF10(PCA16,Flat),SQ8,Refine(Flat),IDMap")
    assert isinstance(tree, Wrapped)
    assert isinstance(tree.base, Refined)
    transformed = tree.base.base
    assert isinstance(transformed, Transformed)
    assert [part.text for part in transformed.transforms] == ["OPQ4_32"]
    assert isinstance(transformed.base, Inverted)
    assert isinstance(transformed.base.quantizer, Transformed)
    assert transformed.base.code.text == "SQ8"
    graph = parse("HNSW16_PQ8x4np")
    assert isinstance(graph, Leaf)
    assert graph.code is not None
    assert (graph.part.number("M"), graph.code.number("nbits"), graph.code.has("np")) == (16, 4, True)


def test_the_table_is_current() -> None:
    page = Path(__file__).parent.parent / "docs" / "factory.md"
    assert page.read_text() == table.document(), "python -m metalfaiss.factory.table docs/factory.md"
