"""The commands: arguments, progress and tables; the work is the library's."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer  # type: ignore[import-not-found,unused-ignore]
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import metalfaiss
from metalfaiss.cli.files import FORMATS, VectorFile, create_vectors, exactly, open_vectors
from metalfaiss.config import config

__all__ = ["app", "console", "errors", "loaded", "progress"]

app = typer.Typer(name="metalfaiss", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)

Vectors = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=f"Vectors: {FORMATS}.")]
IndexFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An index file.")]
Dataset = Annotated[str | None, typer.Option(help="Which array of an HDF5 or safetensors file.")]
Batch = Annotated[int, typer.Option(min=1, help="Vectors in memory at a time.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(metalfaiss.__version__)
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="And no more.")] = False,
) -> None:
    """Similarity search on files."""


@contextmanager
def errors() -> Iterator[None]:
    """Ends the command with the message of an error that the user can mend; nothing half done is left behind."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("[yellow]Interrupted: no file was changed.[/]")
        raise typer.Exit(130) from None
    except (ValueError, TypeError, RuntimeError, ArithmeticError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def progress() -> Progress:
    """A progress bar on the terminal, silent where there is none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def loaded(path: Path) -> Any:
    """An index of either kind, memory-mapped where it can be."""
    with open(path, "rb") as file:
        binary = file.read(2) == b"IB"
    read = metalfaiss.read_index_binary if binary else metalfaiss.read_index
    return read(str(path), metalfaiss.IO_FLAG_MMAP)


def _is_binary(index: Any) -> bool:
    return isinstance(index, metalfaiss.IndexBinary)


def _fit(x: NDArray[Any], index: Any) -> NDArray[Any]:
    """Vectors in the dtype of the index: codes as they are, numbers rounded to float32."""
    return exactly(x, np.uint8, "vectors") if _is_binary(index) else np.ascontiguousarray(x, dtype=np.float32)


def _check_dimension(vectors: VectorFile, index: Any) -> None:
    wanted = index.code_size if _is_binary(index) else index.d
    if vectors.d != wanted:
        raise ValueError(f"[{vectors.path}] Rows must have {wanted} columns for this index. Received {vectors.d}.")


# --------------------------------------------------------------------------------------------- build


def build(
    vectors: Vectors,
    factory: Annotated[str, typer.Option("--factory", "-f", help="What to build, such as IVF1024,Flat or BIVF256.")],
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="The index file to write.")],
    metric: Annotated[str, typer.Option(help="l2 or ip.")] = "l2",
    dataset: Dataset = None,
    batch: Batch = 65536,
    train_size: Annotated[int, typer.Option(min=1, help="Vectors to train with, chosen at random.")] = 262144,
    seed: Annotated[int, typer.Option(help="Of that choice.")] = 1234,
) -> None:
    """Build an index of a file of vectors, which may be larger than memory."""
    with errors():
        output.parent.mkdir(parents=True, exist_ok=True)  # what cannot be written fails before the training
        source = open_vectors(vectors, dataset)
        index = _made(factory, source, metric)
        start = time.perf_counter()
        with progress() as bar:
            if not index.is_trained:
                task = bar.add_task(f"training {factory}", total=None)
                index.train(_fit(source.sample(train_size, seed), index))
                bar.update(task, total=1, completed=1)
            task = bar.add_task("adding", total=source.n)
            for rows in source.blocks(batch):
                index.add(_fit(rows, index))
                bar.advance(task, len(rows))
        write = metalfaiss.write_index_binary if _is_binary(index) else metalfaiss.write_index
        write(index, str(output))
        size = output.stat().st_size
        seconds = time.perf_counter() - start
        console.print(
            f"{output}: {index.ntotal} vectors, {size / 2**20:.1f} MB, {seconds:.1f} s", markup=False, soft_wrap=True
        )


def _made(factory: str, source: VectorFile, metric: str) -> Any:
    metrics = {"l2": metalfaiss.METRIC_L2, "ip": metalfaiss.METRIC_INNER_PRODUCT}
    if metric not in metrics:
        raise ValueError(f"[build] --metric must be l2 or ip. Received {metric}.")
    if factory.split(",")[0].startswith("B"):
        return metalfaiss.index_binary_factory(8 * source.d, factory)
    return metalfaiss.index_factory(source.d, factory, metrics[metric])


# -------------------------------------------------------------------------------------------- search


def search(
    index: IndexFile,
    queries: Vectors,
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the ids.")] = None,
    distances: Annotated[Path | None, typer.Option(help="Where to write the distances.")] = None,
    parameters: Annotated[
        str, typer.Option("--parameters", "-p", help="Such as nprobe=16: names of ParameterSpace.")
    ] = "",
    dataset: Dataset = None,
    batch: Batch = 4096,
) -> None:
    """Search an index for a file of queries; without --output the first results are shown."""
    with errors():
        if distances is not None and output in (None, distances):
            raise ValueError(f"[search] --distances must go with --output, to another file. Received {output}.")
        searched, source = loaded(index), open_vectors(queries, dataset)
        _check_dimension(source, searched)
        metalfaiss.ParameterSpace().set_index_parameters(searched, parameters)
        if output is None:
            _show(*searched.search(_fit(source.rows(0, 10), searched), k))
            return
        files: list[tuple[Path, Any]] = [(output, np.int64)]
        files += [] if distances is None else [(distances, np.int32 if _is_binary(searched) else np.float32)]
        _search_to_files(searched, source, k, batch, files)


def _search_to_files(index: Any, source: VectorFile, k: int, batch: int, files: list[tuple[Path, Any]]) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(create_vectors(path, source.n, k, dtype)) for path, dtype in files]
        bar = stack.enter_context(progress())
        task = bar.add_task("searching", total=source.n)
        for rows in source.blocks(batch):
            D, I = index.search(_fit(rows, index), k)
            for write, found in zip(writers, (I, D), strict=False):
                write(found)
            bar.advance(task, len(rows))


def _show(D: NDArray[Any], I: NDArray[np.int64]) -> None:
    table = Table("query", "ids", "distances")
    for i, (ids, distances) in enumerate(zip(I, D, strict=True)):
        table.add_row(str(i), " ".join(map(str, ids.tolist())), " ".join(f"{d:.4g}" for d in distances.tolist()))
    Console().print(table)


# ---------------------------------------------------------------------------------------------- info


def info(index: IndexFile) -> None:
    """Show what an index file holds."""
    with errors():
        held = loaded(index)
        table = Table("attribute", "value", title=str(index))
        table.add_row("type", type(held).__name__)
        for name in ("d", "ntotal", "is_trained", "metric_type", "code_size", "nlist", "nprobe", "nbits"):
            if hasattr(held, name):
                table.add_row(name, str(getattr(held, name)))
        table.add_row("file", f"{index.stat().st_size / 2**20:.2f} MB")
        for name in ("quantizer", "index", "base_index", "refine_index", "invlists", "sq"):
            if hasattr(held, name):
                table.add_row(name, repr(getattr(held, name)))
        Console().print(table)


# ------------------------------------------------------------------------------------------- convert


def convert(
    source: Vectors,
    output: Annotated[Path, typer.Argument(help=f"The file to write: {FORMATS}.")],
    dataset: Dataset = None,
    batch: Batch = 65536,
) -> None:
    """Convert a file of vectors to another form, in blocks."""
    with errors():
        vectors = open_vectors(source, dataset)
        with create_vectors(output, vectors.n, vectors.d, vectors.dtype) as write, progress() as bar:
            task = bar.add_task("converting", total=vectors.n)
            for rows in vectors.blocks(batch):
                write(rows)
                bar.advance(task, len(rows))
        console.print(f"{output}: {vectors.n} x {vectors.d}", markup=False, soft_wrap=True)


# -------------------------------------------------------------------------------------------- doctor


def doctor() -> None:
    """Show what is installed, and whether it works on this machine."""
    table = Table("", "")
    for section, fields in config().items():
        for name, value in fields.items():
            shown = ", ".join(value) or "none" if isinstance(value, list) else str(value)
            table.add_row(f"{section}: {name}", shown)
    console_out = Console()
    console_out.print(table)
    failed = [f"{name}: {error}" for name, check in _CHECKS.items() if (error := check())]
    for name in _CHECKS:
        bad = any(line.startswith(name) for line in failed)
        console_out.print(f"{'[red]failed[/]' if bad else '[green]ok[/]':8} {name}")
    for line in failed:
        console_out.print(line, style="red", markup=False)
    console_out.print(f"Python {platform.python_version()} at {sys.executable}", style="dim")
    raise typer.Exit(1 if failed else 0)


def _check_search() -> str:
    x = np.random.default_rng(0).standard_normal((500, 32), dtype=np.float32)
    index = metalfaiss.IndexFlatL2(32)
    index.add(x)
    found = index.search(x, 1)[1][:, 0]
    return "" if np.array_equal(found, np.arange(500)) else "exact search does not find the vectors themselves"


def _check_binary() -> str:
    x = np.random.default_rng(0).integers(0, 256, (500, 16), dtype=np.uint8)
    index = metalfaiss.IndexBinaryFlat(128)
    index.add(x)
    return "" if not index.search(x, 1)[0].any() else "exact search of codes does not find the codes themselves"


def _check_levels() -> str:
    x = np.random.default_rng(0).standard_normal((300, 24), dtype=np.float32)
    used = metalfaiss.simd_level()
    try:
        metalfaiss.set_simd_level("portable")
        wanted = metalfaiss.knn(x[:9], x, 5)[1]
    finally:
        metalfaiss.set_simd_level(used)
    same = np.array_equal(metalfaiss.knn(x[:9], x, 5)[1], wanted)
    return "" if same else f"level {used} gives other results than the portable one"


_CHECKS = {
    "exact search": _check_search,
    "search of binary codes": _check_binary,
    "SIMD level against portable code": _check_levels,
}


app.callback()(_options)
for _command in (build, search, info, convert, doctor):
    app.command()(_command)
