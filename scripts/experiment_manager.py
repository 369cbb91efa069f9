#!/usr/bin/env python3
"""Look at the experiments and mark some for a re-run: `--help` lists the flags.

Works from a checkout as it is: the packages beside this folder need not be installed.
"""

import sys
from pathlib import Path


def main() -> None:
    """Entry point."""
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    from telepathy.experiments.manager import main as manage

    manage()


if __name__ == "__main__":
    main()
