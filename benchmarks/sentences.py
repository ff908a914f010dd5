"""Real vectors for the benchmarks: embeddings of the sentences that explain WordNet's 117,659 meanings, or of any text.

    apt install wordnet-base && pip install wordllama
    python benchmarks/sentences.py [-o sentences.npy] [--text file.txt ...]
    python benchmarks/bench_faiss.py --data sentences.npy --rows 84000

WordLlama's package holds its model: 256 dimensions, made of a language model's word vectors. A few seconds on two
cores, and nothing is downloaded. With --text every line of the files that is not blank is a sentence.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

try:
    import wordllama
except ImportError:
    sys.exit("This script needs WordLlama: pip install wordllama")

PARTS = ("noun", "verb", "adj", "adv")


def glosses(folder: Path) -> Iterator[str]:
    """The explanations in WordNet's files: what follows each line's bar. A licence of indented lines comes first."""
    for part in PARTS:
        with (folder / f"data.{part}").open(encoding="utf-8") as lines:
            yield from (line.split("|", 1)[1].strip() for line in lines if not line.startswith("  "))


def lines_of(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        yield from (line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("sentences.npy"), help="float32, a row a sentence")
    parser.add_argument("--text", type=Path, nargs="+", help="text files in place of WordNet")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="the folder of data.noun")
    args = parser.parse_args()
    if args.text is None and not (args.wordnet / "data.noun").exists():
        sys.exit(f"No WordNet in {args.wordnet}: apt install wordnet-base, or name its folder with --wordnet")
    sentences = list(glosses(args.wordnet) if args.text is None else lines_of(args.text))
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    vectors = model.embed(sentences, norm=True).astype(np.float32)
    np.save(args.out, vectors)
    print(f"{args.out}: {vectors.shape[0]} sentences, {vectors.shape[1]} dimensions, unit length")


if __name__ == "__main__":
    main()
