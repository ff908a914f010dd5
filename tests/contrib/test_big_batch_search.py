"""Search a list at a time: the results of index.search, by every method, with threads and after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from faiss.contrib.big_batch_search import big_batch_search as theirs

import metalfaiss
from metalfaiss.contrib.big_batch_search import big_batch_search

rng = np.random.default_rng(0)
XB = rng.standard_normal((1000, 16)).astype(np.float32)
XQ = rng.standard_normal((90, 16)).astype(np.float32)


def ivf(kind: str, metric: int = 1) -> tuple[Any, Any]:
    reference = faiss.index_factory(16, kind, metric)
    reference.train(XB)
    reference.add(XB)
    reference.nprobe = 5
    ours = metalfaiss.deserialize_index(faiss.serialize_index(reference))
    return ours, reference


@pytest.mark.parametrize("kind", ["IVF20,Flat", "IVF20,SQ8"])
@pytest.mark.parametrize("metric", [0, 1])
def test_every_method(kind: str, metric: int) -> None:
    ours, reference = ivf(kind, metric)
    D, I = ours.search(XQ, 7)
    for given in (
        {},
        {"method": "pairwise_distances"},
        {"method": "index"},
        {"threaded": 1},
        {"threaded": 4, "prefetch_threads": 2, "method": "index", "computation_threads": 2},
        {"use_float16": True},
        {"q_assign": ours.quantizer.assign(XQ, 5)},
    ):
        found = big_batch_search(ours, XQ, 7, **given)
        tolerance = 2e-2 if "use_float16" in given else 1e-4
        np.testing.assert_allclose(found[0], D, rtol=tolerance, atol=tolerance)
        assert (found[1] != I).mean() < (0.1 if "use_float16" in given else 0.01)
    if kind == "IVF20,SQ8" and metric == 0:
        return  # FAISS's inner products are those with residuals
    few = big_batch_search(ours, XQ, 7, start_list=3, end_list=9)
    np.testing.assert_allclose(few[0], theirs(reference, XQ, 7, start_list=3, end_list=9)[0], rtol=1e-4, atol=1e-4)


def test_other_functions() -> None:
    ours, _ = ivf("IVF20,Flat")
    seen = set()

    def knn(xq: Any, xb: Any, k: int, metric: int, thread_id: int) -> Any:
        seen.add(thread_id)
        return metalfaiss.knn(xq, xb, k, metric=metric)

    found = big_batch_search(ours, XQ, 3, knn=knn, threaded=2, computation_threads=2)
    np.testing.assert_array_equal(found[1], ours.search(XQ, 3)[1])
    assert seen <= {0, 1}


def test_it_goes_on_after_an_interruption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, _ = ivf("IVF20,Flat")
    path, calls = str(tmp_path / "saved"), []

    def knn(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return metalfaiss.knn(*args, **kwargs)

    with pytest.raises(KeyboardInterrupt):
        big_batch_search(ours, XQ, 3, knn=knn, checkpoint=path, checkpoint_freq=-1)
    found = big_batch_search(ours, XQ, 3, knn=knn, checkpoint=path, verbose=1)
    assert len(calls) <= 21, "seven lists were saved"
    assert "list 19/20" in capsys.readouterr().out
    for a, b in zip(found, ours.search(XQ, 3), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    with pytest.raises(ValueError, match="of a search with sizes"):
        big_batch_search(ours, XQ, 4, checkpoint=path)
    with pytest.raises(ValueError, match="a search of all 20 lists"):
        big_batch_search(ours, XQ, 3, checkpoint=path, end_list=5)
    with pytest.raises(ValueError, match="method must be"):
        big_batch_search(ours, XQ, 3, method="brute")
    with pytest.raises(RuntimeError, match="must be an IndexIVFFlat or"):
        big_batch_search(metalfaiss.IndexFlatL2(16), XQ, 3)
