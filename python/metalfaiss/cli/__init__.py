"""The command line: ``metalfaiss build``, ``search``, ``info``, ``convert``, ``evaluate``, ``doctor``."""

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """The console script ``metalfaiss``."""
    missing = [name for name in ("typer", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"[metalfaiss] {' and '.join(missing)} must be installed. Run: pip install 'metalfaiss[cli]'")
    from metalfaiss.cli.app import app
    from metalfaiss.cli.evaluate import evaluate

    app.command()(evaluate)
    app()
