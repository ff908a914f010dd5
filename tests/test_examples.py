"""The examples run as a user would run them."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("query", "expected"),
    [("serialize an object to json", "json.dumps"), ("pick a random element of a list", "random.Random.choice")],
)
def test_semantic_search_finds_a_known_function(query: str, expected: str) -> None:
    done = run(str(EXAMPLES / "semantic_search.py"), *query.split(), "--modules", "json,datetime,random", "-k", "3")
    assert done.returncode == 0, done.stderr
    results = done.stdout.split(f"\n{query}\n")[1].splitlines()
    assert len(results) == 3
    assert any(line.split()[1].startswith(expected) for line in results)
    assert "topk_svd" in done.stdout
    assert " ms" in done.stdout


def test_semantic_search_default_queries() -> None:
    done = run(str(EXAMPLES / "semantic_search.py"), "--modules", "json,shutil,statistics", "--dims", "64", "-k", "2")
    assert done.returncode == 0, done.stderr
    assert "shutil.rmtree" in done.stdout
    assert "k=64" in done.stdout


def test_semantic_search_without_such_a_module() -> None:
    done = run(str(EXAMPLES / "semantic_search.py"), "--modules", "nosuchmodule")
    assert done.returncode == 1
    assert "No docstrings found in the modules nosuchmodule." in done.stderr


def test_semantic_search_names_the_missing_package() -> None:
    without = "import sys, runpy; sys.modules['sklearn'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    done = run("-c", without, str(EXAMPLES / "semantic_search.py"))
    assert done.returncode == 1
    assert 'pip install "metalfaiss[examples]"' in done.stderr


def test_flat_index() -> None:
    done = run(str(EXAMPLES / "flat_index.py"))
    assert done.returncode == 0, done.stderr
    assert "nearest: [0 1 2 3 4]" in done.stdout
    first, last = (float(line.split(": ")[1]) for line in done.stdout.splitlines() if line.startswith("distortion"))
    assert last < 0.9 * first
