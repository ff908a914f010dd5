"""``metalfaiss evaluate``: recall and time over a sweep of parameters."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer  # type: ignore[import-not-found,unused-ignore]
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import metalfaiss
from metalfaiss.cli.app import (
    Dataset,
    IndexFile,
    Vectors,
    _check_dimension,
    _fit,
    _is_binary,
    console,
    errors,
    loaded,
    progress,
)
from metalfaiss.cli.files import VectorFile, open_vectors, replaced

__all__ = ["evaluate", "recall"]


def evaluate(
    index: IndexFile,
    queries: Vectors,
    ground_truth: Annotated[Path | None, typer.Option("--ground-truth", "-g", help="True ids, such as ivecs.")] = None,
    base: Annotated[Path | None, typer.Option(help="The stored vectors, to compute the true ids from.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10,
    sweep: Annotated[list[str] | None, typer.Option("--sweep", "-s", help="Such as nprobe=1,4,16; repeatable.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="The median of so many runs is shown.")] = 3,
    plot: Annotated[Path | None, typer.Option(help="Draw recall against queries per second (png, svg, pdf).")] = None,
    json_output: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
    dataset: Dataset = None,
) -> None:
    """Measure recall and time of a search, for every combination of the parameters swept."""
    with errors():
        searched, source = loaded(index), open_vectors(queries, dataset)
        _check_dimension(source, searched)
        if source.n == 0:
            raise ValueError(f"[{queries}] It must hold queries. Received none.")
        x = _fit(source.rows(0, source.n), searched)
        truth = _truth(searched, x, k, ground_truth, base)
        points = []
        with progress() as bar:
            combinations = _combinations(sweep or [])
            task = bar.add_task("searching", total=len(combinations) * runs)
            for parameters in combinations:
                metalfaiss.ParameterSpace().set_index_parameters(searched, parameters)
                times = []
                for _ in range(runs):
                    start = time.perf_counter()
                    _, I = searched.search(x, k)
                    times.append(time.perf_counter() - start)
                    bar.advance(task)
                seconds = float(np.median(times))
                points.append(_point(parameters, recall(I, truth), seconds, len(x)))
        _print(points, k)
        if json_output is not None:
            with replaced(json_output) as temporary:
                temporary.write_text(json.dumps({"index": str(index), "k": k, "points": points}, indent=1))
        if plot is not None:
            _draw(points, k, plot)


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The share of the true ids, shape (n, k), that were found."""
    both = [np.isin(t, f).sum() for t, f in zip(truth, found, strict=True)]
    return float(np.sum(both) / max(truth.size, 1))


def _point(parameters: str, found: float, seconds: float, n: int) -> dict[str, Any]:
    each = seconds / n
    return {"parameters": parameters, "recall": found, "seconds": seconds, "ms_per_query": 1e3 * each, "qps": 1 / each}


def _combinations(sweep: list[str]) -> list[str]:
    axes = []
    for entry in sweep:
        name, _, values = entry.partition("=")
        if not values:
            raise ValueError(f"[evaluate] --sweep must be name=value,value,... Received {entry}.")
        axes.append([f"{name}={value}" for value in values.split(",")])
    return [",".join(parts) for parts in itertools.product(*axes)]


def _truth(index: Any, x: NDArray[Any], k: int, ground_truth: Path | None, base: Path | None) -> NDArray[np.int64]:
    if ground_truth is not None:
        file = open_vectors(ground_truth)
        if file.n != len(x) or file.d < k:
            raise ValueError(
                f"[{ground_truth}] It must hold at least {k} ids for each of {len(x)} queries. "
                f"Received {file.n} x {file.d}."
            )
        return file.rows(0, file.n)[:, :k].astype(np.int64)
    if base is None:
        raise ValueError("[evaluate] --ground-truth or --base must be given. Received neither.")
    return _exact(index, x, k, open_vectors(base))


def _exact(index: Any, x: NDArray[Any], k: int, base: VectorFile) -> NDArray[np.int64]:
    """The true ids, from the vectors in blocks."""
    binary = _is_binary(index)
    largest = not binary and index.metric_type == metalfaiss.METRIC_INNER_PRODUCT
    best: tuple[NDArray[Any], NDArray[np.int64]] | None = None
    with progress() as bar:
        task, begin = bar.add_task("exact search", total=base.n), 0
        for rows in base.blocks(65536):
            block = _fit(rows, index)
            D, I = metalfaiss.knn_hamming(x, block, k) if binary else metalfaiss.knn(x, block, k, index.metric_type)
            I = np.where(I < 0, I, I + begin)
            if best is not None:
                D, I = np.concatenate([best[0], D], axis=1), np.concatenate([best[1], I], axis=1)
            order = np.argsort(-D if largest else D, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(D, order, 1), np.take_along_axis(I, order, 1)
            begin += len(rows)
            bar.advance(task, len(rows))
    if best is None:
        raise ValueError(f"[{base.path}] It must hold vectors. Received none.")
    return best[1]


def _print(points: list[dict[str, Any]], k: int) -> None:
    table = Table("parameters", f"recall@{k}", "ms per query", "queries per second")
    for p in points:
        table.add_row(
            p["parameters"] or "-", f"{p['recall']:.4f}", f"{p['ms_per_query']:.4g}", f"{p['qps']:.4g}"
        )  # fmt: skip
    Console().print(table)


def _draw(points: list[dict[str, Any]], k: int, path: Path) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ValueError("[evaluate] matplotlib must be installed for --plot. Run: pip install matplotlib") from error
    ordered = sorted(points, key=lambda p: p["recall"])
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot([p["recall"] for p in ordered], [p["qps"] for p in ordered], "o-")
    for p in ordered:
        axes.annotate(p["parameters"], (p["recall"], p["qps"]), textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set(xlabel=f"recall@{k}", ylabel="queries per second", yscale="log")
    axes.grid(alpha=0.3)
    with replaced(path) as temporary:
        figure.savefig(temporary)
    plt.close(figure)
    console.print(str(path), markup=False, soft_wrap=True)
