"""Classes of FAISS that are not built yet, by name: a program that asks ``isinstance(index, faiss.IndexIVFPQ)`` is told
no, and one that makes such an index what is missing."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["PLANNED", "planned"]

PLANNED = frozenset(
    [
        "AdditiveCoarseQuantizer",
        "AdditiveQuantizer",
        "IVFPQSearchParameters",
        "IVFRaBitQSearchParameters",
        "Index2Layer",
        "IndexAdditiveQuantizer",
        "IndexAdditiveQuantizerFastScan",
        "IndexBinaryHNSW",
        "IndexBinaryHNSWCagra",
        "IndexEDEN",
        "IndexFastScan",
        "IndexFlatIPPanorama",
        "IndexFlatL2Panorama",
        "IndexFlatPanorama",
        "IndexHNSW",
        "IndexHNSW2Level",
        "IndexHNSWCagra",
        "IndexHNSWFlat",
        "IndexHNSWFlatPanorama",
        "IndexHNSWPQ",
        "IndexHNSWRaBitQ",
        "IndexHNSWSQ",
        "IndexIVFAdditiveQuantizer",
        "IndexIVFAdditiveQuantizerFastScan",
        "IndexIVFEDEN",
        "IndexIVFFastScan",
        "IndexIVFFlatPanorama",
        "IndexIVFLocalSearchQuantizer",
        "IndexIVFLocalSearchQuantizerFastScan",
        "IndexIVFPQ",
        "IndexIVFPQFastScan",
        "IndexIVFPQR",
        "IndexIVFProductLocalSearchQuantizer",
        "IndexIVFProductLocalSearchQuantizerFastScan",
        "IndexIVFProductResidualQuantizer",
        "IndexIVFProductResidualQuantizerFastScan",
        "IndexIVFRaBitQ",
        "IndexIVFRaBitQFastScan",
        "IndexIVFResidualQuantizer",
        "IndexIVFResidualQuantizerFastScan",
        "IndexLattice",
        "IndexLocalSearchQuantizer",
        "IndexLocalSearchQuantizerFastScan",
        "IndexNNDescent",
        "IndexNNDescentFlat",
        "IndexNSG",
        "IndexNSGFlat",
        "IndexNSGPQ",
        "IndexNSGSQ",
        "IndexNeuralNetCodec",
        "IndexPQ",
        "IndexPQFastScan",
        "IndexProductLocalSearchQuantizer",
        "IndexProductLocalSearchQuantizerFastScan",
        "IndexProductResidualQuantizer",
        "IndexProductResidualQuantizerFastScan",
        "IndexQINCo",
        "IndexRaBitQ",
        "IndexRaBitQFastScan",
        "IndexRefinePanorama",
        "IndexResidual",
        "IndexResidualQuantizer",
        "IndexResidualQuantizerFastScan",
        "LocalSearchCoarseQuantizer",
        "LocalSearchQuantizer",
        "MultiIndexQuantizer",
        "MultiIndexQuantizer2",
        "ProductAdditiveQuantizer",
        "ProductLocalSearchQuantizer",
        "ProductQuantizer",
        "ProductResidualQuantizer",
        "RaBitQSearchParameters",
        "RaBitQuantizer",
        "ResidualCoarseQuantizer",
        "ResidualQuantizer",
        "SearchParametersHNSW",
        "SearchParametersPQ",
        "SearchParametersResidualCoarseQuantizer",
    ]
)

_MADE: dict[str, type[Any]] = {}


class _Planned(type):
    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f"[{cls.__name__}] {cls.__name__} is not built yet: see docs/factory.md for what is.")


def planned(name: str) -> type[Any]:
    """The class of one of the names: nothing is an instance of it, and to make one raises ``NotImplementedError``."""
    return _MADE.setdefault(name, _Planned(name, (), {"__module__": "metalfaiss"}))
