"""Fixtures of the data tests: a clean environment, and files in the format of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rows = list[dict[str, Any]]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the developer's data folder, disable the hub, and use a temporary cache."""
    monkeypatch.delenv("LATENTWIRE_DATA", raising=False)
    monkeypatch.setenv("LATENTWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write splits as `<folder>/<split>.jsonl` to a new $LATENTWIRE_DATA."""

    def write(folder: str, **splits: Rows) -> Path:
        monkeypatch.setenv("LATENTWIRE_DATA", str(tmp_path / "data"))
        target = tmp_path / "data" / folder
        target.mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (target / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        return target

    return write


@pytest.fixture
def own_task(tmp_path: Path) -> Callable[..., Path]:
    """Write a valid task file with `changes`, and its data in the same folder."""

    def write(data: dict[str, str], **changes: Any) -> Path:
        for name, text in data.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        content = {
            "name": "pets",
            "version": 1,
            "kind": "choice",
            "metric": "acc",
            "labels": ["cat", "dog"],
            "source": {"files": {Path(name).stem: name for name in data}},
            "example": {"context": "{text}", "target": "animal"},
            "prompts": ["Text: {context}\nAnimal:", "{context}\nIt is a", "Pet? {context}\nPet:"],
            "relay_prompts": [
                "Sum up: {context}\n:",
                "Note on {context}\n:",
                "Facts of {context}\n:",
            ],
            "sender_prompt_aware": "Text: {context}\nAnimal:",
            "max_context_tokens": 32,
            **changes,
        }
        path = tmp_path / "pets.yaml"
        path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
        return path

    return write
