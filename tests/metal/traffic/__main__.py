"""Shows the bytes that kernels move, or writes them to the table: ``python -m tests.metal.traffic [--write]``."""

from __future__ import annotations

import argparse
import json

from . import TABLE, cases, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the table as a file")
    write = parser.parse_args().write
    rows = [measure(case) for case in cases()]
    for row in rows:
        print(f"{row['ratio']:7.3f} of {row['ceiling']:<5} {row['case']}: {', '.join(row['kernels'])}")
    if write:
        TABLE.write_text(json.dumps(rows, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
