#!/usr/bin/env python3
"""Show experiments and mark them for re-runs; `--help` lists the flags.

Runs from a source checkout; the packages need not be installed.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    from telepathy.cli.experiment_manager import main as run

    run()


if __name__ == "__main__":
    main()
