"""Semantic search over the documentation of Python's standard library: nothing to download, nothing imported.

Every function and class of the standard library that has a docstring becomes a row of a TF-IDF matrix; `topk_svd` turns
the rows into dense vectors in which words that occur together are near each other (latent semantic analysis); an index
searches them.

    python examples/semantic_search.py
    python examples/semantic_search.py "parse a date from a string" -k 3 --dims 64
"""

import argparse
import ast
import re
import sys
import sysconfig
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np

import metalfaiss
from metalfaiss.faissmlx.svd import topk_svd

try:
    from sklearn.feature_extraction.text import TfidfVectorizer
except ImportError:
    sys.exit('This example needs scikit-learn: pip install "metalfaiss[examples]", or pip install scikit-learn')

QUERIES = (
    "parse a date from a string",
    "pick a random element of a list",
    "delete a directory and everything in it",
    "run a shell command and get its output",
    "serialize an object to json",
    "find the longest common part of two sequences",
)


class Document(NamedTuple):
    name: str  # json.decoder.JSONDecoder.decode
    summary: str  # the first paragraph of its docstring


def standard_library(wanted: set[str]) -> Iterator[Document]:
    """The documented public functions and classes, read from source: nothing is imported."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for name in sorted(sys.stdlib_module_names - {"distutils", "encodings", "idlelib", "lib2to3"}):
        public = re.sub("^_py", "", name)  # datetime, decimal and io are written in _pydatetime, ...
        if public.startswith("_") or (wanted and public not in wanted):
            continue
        for path in [root / f"{name}.py", *sorted((root / name).rglob("*.py"))]:
            parts = [public, *path.relative_to(root).with_suffix("").parts[1:]]
            if path.exists() and not any(part.startswith(("_", "test")) for part in parts if part != "__init__"):
                module = ".".join(part for part in parts if part != "__init__")
                yield from documented(ast.parse(path.read_bytes()), module)


def documented(node: ast.AST, name: str) -> Iterator[Document]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        if text := ast.get_docstring(child):
            yield Document(f"{name}.{child.name}", " ".join(text.split("\n\n")[0].split()))
        if isinstance(child, ast.ClassDef):
            yield from documented(child, f"{name}.{child.name}")


def words(text: str) -> list[str]:
    """Lower-case words without their endings; JSONDecoder and rm_tree fall apart into theirs."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)
    return [re.sub(r"(?<=[a-z]{3})(ing|ed|es|s|e)$", "", word.lower()) for word in found if len(word) > 1]


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"  {what:<62} {1e3 * (time.perf_counter() - start):8.1f} ms")


def unit(vectors: mx.array) -> mx.array:
    return vectors / mx.maximum(mx.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("query", nargs="*", help="what to look for, in plain English (default: six examples)")
    parser.add_argument("-k", type=int, default=4, help="results for each query (default 4)")
    parser.add_argument("--dims", type=int, default=384, help="dimensions of the latent vectors (default 384)")
    parser.add_argument("--modules", default="", help="search only these, such as json,datetime (default: all)")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where MLX runs (default cpu)")
    args = parser.parse_args()
    mx.set_default_device(mx.gpu if args.device == "gpu" else mx.cpu)

    with timed("read the docstrings of the standard library"):
        documents = list(standard_library({m for m in args.modules.split(",") if m}))
    if not documents:
        sys.exit(f"No docstrings found in the modules {args.modules}.")
    tfidf = TfidfVectorizer(analyzer=words, sublinear_tf=True, max_features=4096, dtype=np.float32)
    with timed("TF-IDF of names and summaries"):
        matrix = mx.array(tfidf.fit_transform(f"{d.name} {d.summary}" for d in documents).toarray())
    dims = min(args.dims, *matrix.shape)
    with timed(f"topk_svd of {matrix.shape[0]} x {matrix.shape[1]}, k={dims}"):
        U, S, Vt = topk_svd(matrix, dims, iters=3, oversample=32)
        vectors = unit(U * S)
        mx.eval(vectors, Vt)
    with timed(f"IndexFlatIP of {len(documents)} vectors"):
        index = metalfaiss.IndexFlatIP(dims)
        index.add(vectors)

    queries = [" ".join(args.query)] if args.query else list(QUERIES)
    with timed(f"search, {len(queries)} {'queries at once' if len(queries) > 1 else 'query'}"):
        latent = unit(mx.array(tfidf.transform(queries).toarray()) @ Vt.T)
        scores, ids = index.search(latent, min(args.k, len(documents)))
        scores, ids = scores.tolist(), ids.tolist()
    for query, query_scores, query_ids in zip(queries, scores, ids, strict=True):
        print(f"\n{query}")
        for score, i in zip(query_scores, query_ids, strict=True):
            name, summary = documents[i]
            print(f"  {score:5.2f}  {name:<42} {textwrap.shorten(summary, 68, placeholder=' ...')}")


if __name__ == "__main__":
    main()
