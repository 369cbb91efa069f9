#!/usr/bin/env python3
"""Generate the reference pages from the code: `python scripts/make_docs.py docs`.

Runs from a checkout; the packages need not be installed.
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Write the generated reference pages.")
    parser.add_argument("folder", type=Path, help="folder for the pages, e.g. docs")
    folder = parser.parse_args().folder
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    from telepathy.reporting.reference import write_pages

    for path in write_pages(folder):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
