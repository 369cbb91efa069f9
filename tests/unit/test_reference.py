"""The generated pages of docs/ are those of the code."""

from __future__ import annotations

from pathlib import Path

from telepathy.reporting.reference import pages, write_pages

DOCS = Path(__file__).parents[2] / "docs"


def test_reference_pages_are_up_to_date() -> None:
    stale = [
        name
        for name, text in pages().items()
        if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run: python scripts/make_docs.py docs   (stale: {', '.join(stale)})"


def test_write_pages_reports_changes_only(tmp_path: Path) -> None:
    assert {path.name for path in write_pages(tmp_path)} == set(pages())
    assert write_pages(tmp_path) == []
