"""Store of answers: completed methods are not run again, interrupted ones are resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentwire.core.files import read_jsonl, write_json, write_jsonl
from latentwire.core.run_folder import RunFolder
from latentwire.eval.method import Prediction


@dataclass(frozen=True)
class MethodAnswers:
    """Answers of one method with one seed.

    Args:
        predictions: Answers in the order of the examples.
        record: Provenance: `method`, `fingerprint`, `about`, `n`, `settings`, `seconds`,
            `environment`.
        reused: Whether they were stored before this run.
    """

    predictions: list[Prediction]
    record: dict[str, Any]
    reused: bool = False


@dataclass(frozen=True)
class Store:
    """Answers of methods, in files or, without a folder, in memory.

    The folder holds `predictions.<method>.jsonl` and `record.<method>.json` per method, in
    subfolders `seed-<n>` for methods that depend on the seed.

    Args:
        folder: Folder of the answers; None keeps them in memory.
        by_seed: False stores the answers of all seeds in the folder itself.
    """

    folder: Path | None = None
    by_seed: bool = True
    _memory: dict[tuple[str, int | None], MethodAnswers] = field(default_factory=dict, repr=False)

    def run(self, seed: int | None) -> RunFolder | None:
        """Return the folder of a seed's answers; None for methods without a seed."""
        if self.folder is None:
            return None
        below = self.by_seed and seed is not None
        return RunFolder(self.folder / f"seed-{seed}" if below else self.folder)

    def work(self, name: str, seed: int | None, fingerprint: str) -> Path | None:
        """Return the folder where a method keeps what it trains; None without a folder."""
        run = self.run(seed)
        return run.work(name, fingerprint) if run else None

    def load(self, name: str, seed: int | None, fingerprint: str) -> MethodAnswers | None:
        """Return the complete answers with a fingerprint; None if there are none.

        Args:
            name: Name of the method.
            seed: Seed of the answers; None for methods without a seed.
            fingerprint: Fingerprint of everything that affects the answers.
        """
        run = self.run(seed)
        if run is None:
            found = self._memory.get((name, seed))
            return found if found and found.record["fingerprint"] == fingerprint else None
        try:
            record = json.loads(run.record(name).read_text(encoding="utf-8"))
            if record["fingerprint"] != fingerprint:
                return None
            rows = read_jsonl(run.predictions(name))
            predictions = [Prediction.from_json(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # missing, incomplete or of another format
        complete = len(rows) == record["n"]
        return MethodAnswers(predictions, record, reused=True) if complete else None

    def save(self, name: str, seed: int | None, answers: MethodAnswers) -> None:
        """Store complete answers and remove the partial ones."""
        run = self.run(seed)
        if run is None:
            reused = MethodAnswers(answers.predictions, answers.record, reused=True)
            self._memory[name, seed] = reused
            return
        write_jsonl(run.predictions(name), [p.to_json() for p in answers.predictions])
        write_json(run.record(name), answers.record)
        run.partial(name).unlink(missing_ok=True)

    def load_part(self, name: str, seed: int | None, fingerprint: str) -> list[Prediction]:
        """Return the stored answers of an interrupted method."""
        run = self.run(seed)
        if run is None:
            return []
        try:
            head, *lines = run.partial(name).read_text(encoding="utf-8").splitlines()
            if json.loads(head) != {"fingerprint": fingerprint}:
                return []
        except (OSError, ValueError):
            return []
        found = []
        for line in lines:
            try:
                found.append(Prediction.from_json(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                break  # incomplete last line
        return found

    def start_part(
        self, name: str, seed: int | None, fingerprint: str, answers: Sequence[Prediction]
    ) -> None:
        """Create the file of partial answers, starting with `answers`."""
        if run := self.run(seed):
            rows = [{"fingerprint": fingerprint}, *(p.to_json() for p in answers)]
            write_jsonl(run.partial(name), rows)

    def add_part(self, name: str, seed: int | None, answers: Sequence[Prediction]) -> None:
        """Append answers to the file of partial answers."""
        run = self.run(seed)
        if run is None:
            return
        lines = [json.dumps(p.to_json(), ensure_ascii=False, allow_nan=False) for p in answers]
        with run.partial(name).open("a", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in lines)
