"""The grammar of ``index_factory`` as one table: what a part of a description looks like, and what it builds."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["BINARY", "RULES", "Part", "Rule", "match"]

BINARY = "binary"


@dataclass(frozen=True)
class Rule:
    """A form of a part.

    Attributes:
        group: where it may stand: wrapper, refine, transform, basic, graph, graph code, row, coarse, IVF code,
            two-layer code, or binary.
        form: how it is written, for people.
        builds: the class that it makes.
        pattern: a regular expression of the whole part.
    """

    group: str
    form: str
    builds: str
    pattern: str


@dataclass(frozen=True)
class Part:
    """A part of a description, and what its form says."""

    rule: Rule
    text: str
    values: dict[str, str | None]

    def number(self, name: str, default: int = 0) -> int:
        value = self.values.get(name)
        return int(value) if value else default

    def has(self, name: str) -> bool:
        return bool(self.values.get(name))


_AQ = r"[0-9]+x[0-9]+(?:_[0-9]+x[0-9]+)*"
_NORM = r"(?P<norm>|_Nnone|_Nfloat|_Nqint8|_Nqint4|_Ncqint8|_Ncqint4|_Nlsq2x4|_Nrq2x4)"
_SQ = r"(?P<type>SQ4|SQ8|SQ6|SQfp16|SQbf16|SQ8_direct_signed|SQ8_direct)"
_TURBO = r"(?P<type>SQ0|SQtqmse[12348]|SQtq[2345])"
_SQ_FORM = "SQ8, SQ6, SQ4, SQfp16, SQbf16, SQ8_direct, SQ8_direct_signed"
_TURBO_FORM = "SQ0, SQtqmse1, 2, 3, 4, 8, SQtq2 to SQtq5"
_PQ = r"PQ(?P<M>[0-9]+)(?:x(?P<nbits>[0-9]+))?(?P<np>np)?"
_NLIST = r"IVF(?P<nlist>[0-9]+)(?P<unit>[kM]?)"
_BBS = r"(?:_(?P<bbs>[0-9]+))?"
_RABITQ, _RABITQ_FS = r"RaBitQ(?P<nbits>[1-9])?", r"RaBitQfs(?P<nbits>[1-9])?" + _BBS
_EDEN = r"EDEN(?P<nbits>[1-8])?(?P<scale>BIASED|BIAS)?"

RULES: tuple[Rule, ...] = (
    Rule("wrapper", "X,IDMap2 or IDMap2,X", "IndexIDMap2", r"IDMap2"),
    Rule("wrapper", "X,IDMap or IDMap,X", "IndexIDMap", r"IDMap"),
    Rule("refine", "X,RefinePanorama(Y)", "IndexRefinePanorama", r"RefinePanorama\((?P<index>.+)\)"),
    Rule("refine", "X,RFlat", "IndexRefineFlat", r"RFlat"),
    Rule("refine", "X,Refine(Y)", "IndexRefine", r"Refine\((?P<index>.+)\)"),
    Rule("transform", "PCA[W][R]n", "PCAMatrix", r"PCA(?P<white>W?)(?P<rotate>R?)(?P<d>[0-9]+)"),
    Rule("transform", "L2norm or L2Norm", "NormalizationTransform", r"L2[nN]orm"),
    Rule("transform", "RR[n]", "RandomRotationMatrix", r"RR(?P<d>[0-9]+)?"),
    Rule("transform", "HR[seed]", "HadamardRotation", r"HR(?P<seed>[0-9]+)?"),
    Rule("transform", "ITQ[n]", "ITQTransform", r"ITQ(?P<d>[0-9]+)?"),
    Rule("transform", "OPQM[_d]", "OPQMatrix", r"OPQ(?P<M>[0-9]+)(?:_(?P<d>[0-9]+))?"),
    Rule("transform", "Padn", "RemapDimensionsTransform", r"Pad(?P<d>[0-9]+)"),
    Rule("basic", "Flat", "IndexFlat", r"Flat"),
    Rule("basic", "FlatL2Panoraman[_bs]", "IndexFlatL2Panorama", r"FlatL2Panorama(?P<levels>[0-9]+)" + _BBS),
    Rule("basic", "FlatIPPanoraman[_bs]", "IndexFlatIPPanorama", r"FlatIPPanorama(?P<levels>[0-9]+)" + _BBS),
    Rule("basic", "LSH[nbits][r][t]", "IndexLSH", r"LSH(?P<nbits>[0-9]*)(?P<rotate>r?)(?P<train>t?)"),
    Rule(
        "basic",
        "ZnLatticeMxR2_nbit",
        "IndexLattice",
        r"ZnLattice(?P<M>[0-9]+)x(?P<r2>[0-9]+)_(?P<nbit>[0-9]+)",
    ),
    Rule("basic", _SQ_FORM, "IndexScalarQuantizer", _SQ),
    Rule("basic", _TURBO_FORM, "IndexScalarQuantizer", _TURBO),
    Rule("basic", "PQM[xnbits][np]", "IndexPQ", _PQ),
    Rule("basic", "PQMx4fs[_bbs]", "IndexPQFastScan", r"PQ(?P<M>[0-9]+)x4fs" + _BBS),
    Rule("basic", "RCQMxb[_Mxb...]", "ResidualCoarseQuantizer", r"RCQ(?P<aq>" + _AQ + ")" + _NORM),
    Rule("basic", "RQMxb[_Mxb...][norm]", "IndexResidualQuantizer", r"RQ(?P<aq>" + _AQ + ")" + _NORM),
    Rule("basic", "LSCQMxb[norm]", "LocalSearchCoarseQuantizer", r"LSCQ(?P<aq>[0-9]+x[0-9]+)" + _NORM),
    Rule("basic", "LSQMxb[norm]", "IndexLocalSearchQuantizer", r"LSQ(?P<aq>[0-9]+x[0-9]+)" + _NORM),
    Rule("basic", "PRQsxMxb[norm]", "IndexProductResidualQuantizer", r"PRQ(?P<aq>[0-9]+x[0-9]+x[0-9]+)" + _NORM),
    Rule("basic", "PLSQsxMxb[norm]", "IndexProductLocalSearchQuantizer", r"PLSQ(?P<aq>[0-9]+x[0-9]+x[0-9]+)" + _NORM),
    Rule("basic", "RQMx4fs[_bbs][norm]", "IndexResidualQuantizerFastScan", r"RQ(?P<M>[0-9]+)x4fs" + _BBS + _NORM),
    Rule("basic", "LSQMx4fs[_bbs][norm]", "IndexLocalSearchQuantizerFastScan", r"LSQ(?P<M>[0-9]+)x4fs" + _BBS + _NORM),
    Rule(
        "basic",
        "PRQsxMx4fs[_bbs][norm]",
        "IndexProductResidualQuantizerFastScan",
        r"PRQ(?P<aq>[0-9]+x[0-9]+)x4fs" + _BBS + _NORM,
    ),
    Rule(
        "basic",
        "PLSQsxMx4fs[_bbs][norm]",
        "IndexProductLocalSearchQuantizerFastScan",
        r"PLSQ(?P<aq>[0-9]+x[0-9]+)x4fs" + _BBS + _NORM,
    ),
    Rule("basic", "RaBitQ[1-9]", "IndexRaBitQ", _RABITQ),
    Rule("basic", "EDEN[1-8][BIASED or BIAS]", "IndexEDEN", _EDEN),
    Rule("basic", "RaBitQfs[1-9][_bbs]", "IndexRaBitQFastScan", _RABITQ_FS),
    Rule("graph", "HNSW[M][, or _][code]", "IndexHNSW", r"HNSW(?P<M>[0-9]*)(?:[,_](?P<code>.*))?"),
    Rule("graph", "NSG[R][, or _][code]", "IndexNSG", r"NSG(?P<M>[0-9]*)(?:[,_](?P<code>.*))?"),
    Rule("HNSW code", "nothing or Flat", "IndexHNSWFlat", r"Flat|"),
    Rule("HNSW code", "FlatPanorama[n]", "IndexHNSWFlatPanorama", r"FlatPanorama(?P<levels>[0-9]+)?"),
    Rule("HNSW code", "PQM[xnbits][np]", "IndexHNSWPQ", _PQ),
    Rule("HNSW code", "any SQ", "IndexHNSWSQ", rf"{_SQ}|{_TURBO.replace('type', 'turbo')}"),
    Rule("HNSW code", "RaBitQ[1-9]", "IndexHNSWRaBitQ", _RABITQ),
    Rule("HNSW code", "ncent+PQ[M]", "IndexHNSW2Level", r"(?P<ncent>[0-9]+)\+PQ(?P<M>[0-9]+)?"),
    Rule("HNSW code", "2xnbit+PQ[M]", "IndexHNSW2Level", r"2x(?P<nbit>[0-9]+)\+PQ(?P<M>[0-9]+)?"),
    Rule("NSG code", "nothing or Flat", "IndexNSGFlat", r"Flat|"),
    Rule("NSG code", "PQM[xnbits][np]", "IndexNSGPQ", _PQ),
    Rule("NSG code", "any SQ", "IndexNSGSQ", rf"{_SQ}|{_TURBO.replace('type', 'turbo')}"),
    Rule("row", "MinMax,X", "IndexRowwiseMinMax", r"MinMax"),
    Rule("row", "MinMaxFP16,X", "IndexRowwiseMinMaxFP16", r"MinMaxFP16"),
    Rule("coarse", "IVFn[k or M]", "IndexFlat", _NLIST),
    Rule("coarse", "IMI2xb", "MultiIndexQuantizer", r"IMI2x(?P<nbit>[0-9]+)"),
    Rule("coarse", "IVFn_HNSW[M]", "IndexHNSWFlat", _NLIST + r"_HNSW(?P<M>[0-9]*)"),
    Rule("coarse", "IVFn_NSGR", "IndexNSGFlat", _NLIST + r"_NSG(?P<M>[0-9]+)"),
    Rule("coarse", "IVFn(X)", "the index X", _NLIST + r"\(Index(?P<index>[0-9])\)"),
    Rule("two-layer", "ResidualMxb", "Index2Layer", r"Residual(?P<M>[0-9]+)x(?P<nbit>[0-9]+)"),
    Rule("two-layer", "Residualn", "Index2Layer", r"Residual(?P<nlist>[0-9]+)"),
    Rule("two-layer code", "PQM[xnbits]", "Index2Layer", r"PQ(?P<M>[0-9]+)(?:x(?P<nbits>[0-9]+))?"),
    Rule("IVF code", "Flat", "IndexIVFFlat", r"Flat"),
    Rule("IVF code", "FlatDedup", "IndexIVFFlatDedup", r"FlatDedup"),
    Rule("IVF code", "FlatPanorama[n][_bs]", "IndexIVFFlatPanorama", r"FlatPanorama(?P<levels>[0-9]+)?" + _BBS),
    Rule("IVF code", _SQ_FORM, "IndexIVFScalarQuantizer", _SQ),
    Rule("IVF code", _TURBO_FORM, "IndexIVFScalarQuantizer", _TURBO),
    Rule("IVF code", "PQM[xnbits][np]", "IndexIVFPQ", _PQ),
    Rule("IVF code", "PQM1+M2", "IndexIVFPQR", r"PQ(?P<M>[0-9]+)\+(?P<M2>[0-9]+)"),
    Rule("IVF code", "PQMx4fs[r][_bbs]", "IndexIVFPQFastScan", r"PQ(?P<M>[0-9]+)x4fs(?P<residual>r?)" + _BBS),
    Rule("IVF code", "RQMxb[_Mxb...][norm]", "IndexIVFResidualQuantizer", r"RQ(?P<aq>" + _AQ + ")" + _NORM),
    Rule("IVF code", "LSQMxb[_Mxb...][norm]", "IndexIVFLocalSearchQuantizer", r"LSQ(?P<aq>" + _AQ + ")" + _NORM),
    Rule(
        "IVF code",
        "PRQsxMxb[norm]",
        "IndexIVFProductResidualQuantizer",
        r"PRQ(?P<aq>[0-9]+x[0-9]+x[0-9]+)" + _NORM,
    ),
    Rule(
        "IVF code",
        "PLSQsxMxb[norm]",
        "IndexIVFProductLocalSearchQuantizer",
        r"PLSQ(?P<aq>[0-9]+x[0-9]+x[0-9]+)" + _NORM,
    ),
    Rule(
        "IVF code",
        "RQMx4fs[r][_bbs][norm], LSQMx4fs...",
        "IndexIVFResidualQuantizerFastScan, IndexIVFLocalSearchQuantizerFastScan",
        r"(?P<kind>RQ|LSQ)(?P<M>[0-9]+)x4fs(?P<residual>r?)" + _BBS + _NORM,
    ),
    Rule(
        "IVF code",
        "PRQsxMx4fs[r][_bbs][norm], PLSQsxMx4fs...",
        "IndexIVFProductResidualQuantizerFastScan, IndexIVFProductLocalSearchQuantizerFastScan",
        r"(?P<kind>PRQ|PLSQ)(?P<aq>[0-9]+x[0-9]+)x4fs(?P<residual>r?)" + _BBS + _NORM,
    ),
    Rule(
        "IVF code",
        "ITQ, PCA or PCAR[n],SH[period][g, c or m]",
        "IndexIVFSpectralHash",
        r"(?P<kind>ITQ|PCA|PCAR)(?P<d>[0-9]+)?,SH(?P<period>[-0-9.e]+)?(?P<threshold>[gcm])?",
    ),
    Rule("IVF code", "RaBitQ[1-9]", "IndexIVFRaBitQ", _RABITQ),
    Rule("IVF code", "EDEN[1-8][BIASED or BIAS]", "IndexIVFEDEN", _EDEN),
    Rule("IVF code", "RaBitQfs[1-9][_bbs]", "IndexIVFRaBitQFastScan", _RABITQ_FS),
    # As FAISS, which reads numbers and then stops, whatever follows a number is not looked at.
    Rule(BINARY, "X,IDMap2 or IDMap2,X", "IndexBinaryIDMap2", r"IDMap2"),
    Rule(BINARY, "X,IDMap or IDMap,X", "IndexBinaryIDMap", r"IDMap"),
    Rule(BINARY, "BIVFn_HNSWM", "IndexBinaryIVF on IndexBinaryHNSW", r"BIVF(?P<nlist>[0-9]+)_HNSW(?P<M>[0-9]+).*"),
    Rule(BINARY, "BIVFn", "IndexBinaryIVF", r"BIVF(?P<nlist>[0-9]+).*"),
    Rule(BINARY, "BHNSWM", "IndexBinaryHNSW", r"BHNSW(?P<M>[0-9]+).*"),
    Rule(BINARY, "BHashnxb", "IndexBinaryMultiHash", r"BHash(?P<n>[0-9]+)x(?P<b>[0-9]+).*"),
    Rule(BINARY, "BHashb", "IndexBinaryHash", r"BHash(?P<b>[0-9]+).*"),
    Rule(BINARY, "BFlat", "IndexBinaryFlat", r"BFlat"),
)


def match(group: str, text: str) -> Part | None:
    """The part that ``text`` is, by the first form of the group that it has."""
    for rule in RULES:
        if rule.group == group and (found := re.fullmatch(rule.pattern, text)):
            return Part(rule, text, found.groupdict())
    return None
