"""Settings of indexes by name, and the search for the best of them, against faiss-cpu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

import metalfaiss
from metalfaiss import IndexFlatL2, IndexPreTransform, IndexRefineFlat, ParameterSpace


class Lists(IndexFlatL2):
    """A flat index with the settings of one with inverted lists, the best for the most."""

    def __init__(self, d: int, nlist: int) -> None:
        super().__init__(d)
        self.nlist, self.nprobe, self.max_codes, self.quantizer = nlist, 1, 0, IndexFlatL2(d)


def points(n: int, d: int = 8) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, d), dtype=np.float32)


@pytest.mark.parametrize("name", ["OneRecallAtRCriterion", "IntersectionCriterion"])
def test_criteria(name: str, rng: np.random.Generator) -> None:
    true = np.stack([rng.permutation(30)[:12] for _ in range(20)])
    found = np.stack([rng.permutation(30)[:10] for _ in range(20)])
    D = np.zeros((20, 10), dtype=np.float32)
    theirs, criterion = (getattr(module, name)(20, 10) for module in (faiss, metalfaiss))
    for each in (theirs, criterion):
        each.set_groundtruth(None, true)
    expected = theirs.evaluate(faiss.swig_ptr(D), faiss.swig_ptr(found))
    assert criterion.evaluate(D, found) == pytest.approx(expected)
    with pytest.raises(ValueError, match="shape"):
        criterion.evaluate(D[:3], found[:3])
    with pytest.raises(ValueError, match="shape"):
        criterion.set_groundtruth(D, true)
    with pytest.raises(RuntimeError, match="Ground truth"):
        getattr(metalfaiss, name)(20, 10).evaluate(D, found)


def test_operating_points_are_those_of_faiss(
    rng: np.random.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = metalfaiss.OperatingPoints(), faiss.OperatingPoints()
    for i in range(60):
        perf, t = np.round(rng.random(2), 1) if i % 2 else rng.random(2)
        assert ours.add(perf, t, f"key{i}", i) == theirs.add(float(perf), float(t), f"key{i}", i)
        optimal = [theirs.optimal_pts.at(j) for j in range(theirs.optimal_pts.size())]
        assert [(p.perf, p.t, p.cno) for p in ours.optimal_pts] == [(p.perf, p.t, p.cno) for p in optimal]
    for perf in (0.0, 0.3, 0.95, 1.5):
        assert ours.t_for_perf(perf) == theirs.t_for_perf(perf)
    for method in ("all_to_gnuplot", "optimal_to_gnuplot"):
        texts = []
        for which, each in enumerate((ours, theirs)):
            getattr(each, method)(str(tmp_path / f"{which}"))
            texts.append((tmp_path / f"{which}").read_text())
        assert texts[0] == texts[1]
    ours.display(False)
    assert "Tested 60 operating points" in capsys.readouterr().out
    other = metalfaiss.OperatingPoints()
    assert other.merge_with(ours, "from ") >= len(ours.optimal_pts) - 1
    assert other.all_pts.at(0).key == "from key0"
    other.clear()
    assert other.all_pts.size() == 0


def test_settings_of_an_index() -> None:
    inner = Lists(4, 100)
    index = IndexRefineFlat(IndexPreTransform(metalfaiss.PCAMatrix(8, 4), inner))
    wrapped = metalfaiss.IndexIDMap(index)
    space = ParameterSpace()
    space.set_index_parameters(wrapped, "nprobe=7,k_factor_rf=3 max_codes=12")
    assert (inner.nprobe, index.k_factor, inner.max_codes) == (7, 3, 12)
    space.set_index_parameter(wrapped, "max_codes", float("inf"))
    assert inner.max_codes == 0
    space.set_index_parameter(wrapped, "verbose", 1)
    assert wrapped.verbose
    assert inner.verbose
    space.set_index_parameter(inner, "quantizer_verbose", 1)
    assert inner.quantizer.verbose
    shards = metalfaiss.IndexShards(4)
    shards.add_shard(inner)
    space.set_index_parameter(shards, "nprobe", 5)
    assert inner.nprobe == 5
    for text in ("nonsense=1", "nprobe=x", "nprobe"):
        with pytest.raises(RuntimeError):
            space.set_index_parameters(wrapped, text)
    with pytest.raises(RuntimeError, match="'nprobe' for IndexFlatL2"):
        space.set_index_parameter(IndexFlatL2(4), "nprobe", 1)


def test_ranges_and_combinations(capsys: pytest.CaptureFixture[str]) -> None:
    theirs, ours = faiss.ParameterSpace(), ParameterSpace()
    theirs.initialize(faiss.index_factory(8, "PCA4,IVF100,Flat,RFlat"))
    ours.initialize(IndexRefineFlat(IndexPreTransform(metalfaiss.PCAMatrix(8, 4), Lists(4, 100))))
    assert ours.n_combinations() == theirs.n_combinations()
    for i in range(theirs.parameter_ranges.size()):
        r = theirs.parameter_ranges.at(i)
        assert ours.parameter_ranges.at(i).name == r.name
        assert list(ours.parameter_ranges.at(i).values) == faiss.vector_to_array(r.values).tolist()
    for cno in (0, 3, 17, 48):
        assert ours.combination_name(cno) == theirs.combination_name(cno)
        assert [ours.combination_ge(cno, other) for other in range(49)] == [
            theirs.combination_ge(cno, other) for other in range(49)
        ]
    metalfaiss.copy_array_to_vector(np.array([1.0, 2.0]), ours.add_range("more").values)
    assert ours.n_combinations() == 2 * theirs.n_combinations()
    ours.display()
    assert "more: [1, 2]" in capsys.readouterr().out


@pytest.mark.parametrize("settings", [{}, {"n_experiments": 0}, {"batchsize": 7, "thread_over_batches": True}])
def test_explore(settings: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    index, xb, xq = Lists(8, 100), points(300), points(30)
    index.add(xb)
    criterion = metalfaiss.IntersectionCriterion(30, 5)
    criterion.set_groundtruth(*index.search(xq, 5))
    space = ParameterSpace()
    space.initialize(index)
    for name, value in settings.items():
        setattr(space, name, value)
    found = space.explore(index, xq, criterion)
    assert found.optimal_pts[-1].perf == 1
    assert "perf=1.000" in capsys.readouterr().out
    if space.n_experiments == 0:
        assert len(found.all_pts) == space.n_combinations() == 7
    with pytest.raises(ValueError, match="xq must have shape"):
        space.explore(index, xq[:3], criterion)
