"""Synthetic registries with known faults, in the real file formats."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from latentwire.core.files import fingerprint
from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.failure import classify
from telepathy.experiments.registry.index import RegistryIndex
from telepathy.experiments.registry.record import (
    COMPLETED,
    FAILED,
    PREEMPTED,
    RUNNING,
    Record,
    moved,
    new_record,
)

N_TEST, N_VAL = 240, 120
CHOICES = {"arc_easy": 4, "winogrande": 2, "hellaswag": 4, "boolq": 2}
TRAINING = {"lr": 0.0005, "batch_size": 8, "grad_accum": 2, "max_tokens": 256, "steps": 60}
Predict = Callable[[int, int], int]


@dataclass
class SyntheticRegistry:
    """Builds synthetic runs; `registry()` writes the index.

    Args:
        folder: Parent of `runs/`.
        seed: Random seed for all noise.
    """

    folder: Path
    seed: int = 0
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.runs = self.folder / "runs"

    def registry(self) -> Registry:
        """Write and return the registry of all ended runs."""
        path = self.runs / "experiment_registry.json"
        self.runs.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        RegistryIndex.of(self.records).write(path)
        for record in self.records:
            folder = self.runs / record.key
            folder.mkdir(exist_ok=True)
            (folder / "record.json").write_text(json.dumps(record.to_json()))
        return Registry(path)

    def begun(self, task: str, method: str, seed: int = 0, **changes: Any) -> Record:
        """A running record; `changes` are training options, or fields of the record."""
        place = {"host": "node-1", "commit": "aaaaaaaaaaaa", "dirty": False}
        place |= {k: changes.pop(k) for k in list(changes) if k in place}
        command = changes.pop("command", [])
        config = {"task": task, "method": method, "seed": seed, **changes.pop("config", {})}
        config["train"] = {**TRAINING, **changes}
        name = f"{task}_{method}_seed{seed}_{fingerprint(changes)[:4]}"
        record = new_record(name, config, command=command)
        return moved(record, RUNNING, attempts=1, **place)

    def failed(self, record: Record, lines: Sequence[str], code: int = 1, times: int = 2) -> Record:
        """Let a run fail with these last lines of its log."""
        kind, evidence = classify("", code, lines)
        for attempt in range(times):
            if attempt:
                record = moved(record, RUNNING, attempts=attempt + 1)
            record = moved(
                record, FAILED, kind, error=lines[-1], error_class=kind, error_evidence=evidence,
                exit_code=code, log_tail=list(lines), n_failures=attempt + 1,
            )  # fmt: skip
        self.records.append(record)
        return record

    def again(self, record: Record) -> Record:
        """Start an ended run again."""
        self.records.remove(record)
        return moved(record, RUNNING, attempts=record.attempts + 1, error="", error_class="")

    def preempted(self, record: Record, times: int = 20) -> Record:
        """Let a run be preempted a number of times."""
        record = moved(record, PREEMPTED, error="signal SIGTERM", error_class=PREEMPTED)
        self.records.append(replace(record, n_preemptions=times, attempts=times))
        return self.records[-1]

    def completed(
        self,
        record: Record,
        methods: dict[str, float | Predict],
        *,
        setting: str = "blind",
        loss: Callable[[float], float] = lambda x: 0.2 + 1.2 * (1 - x) ** 2,
        val: float | None = None,
    ) -> Record:
        """Let a run complete with synthetic answers of each method.

        Args:
            record: A running record.
            methods: Accuracy, or a function of example index and target that returns the answer.
            setting: Task setting.
            loss: Training loss as a function of the fraction of steps done.
            val: Val accuracy; default: close to the bridge's test accuracy.
        """
        task, seed = record.config["task"], record.config["seed"]
        folder = self.runs / record.key
        folder.mkdir(parents=True, exist_ok=True)
        targets, k = self.targets(task), CHOICES[task]
        rows = {}
        for method, how in methods.items():
            draw = random.Random(f"{self.seed} {task} {method} {seed} {record.key}")
            said = [
                how(i, t) if callable(how) else _guess(draw, t, k, how)
                for i, t in enumerate(targets)
            ]
            _write_lines(
                folder / f"predictions.{method}.jsonl",
                [_prediction(i, p, t, k) for i, (p, t) in enumerate(zip(said, targets))],
            )
            share = sum(p == t for p, t in zip(said, targets)) / len(targets)
            score = {"value": share, "ci_low": 0.0, "ci_high": 1.0, "n": N_TEST, "n_seeds": 1}
            rows[method] = {"about": "", "accuracy": score, "metrics": {"acc": score}}
        if "bridge" in methods:
            bridge = rows["bridge"]["accuracy"]["value"] if val is None else val
            self._train(folder, record.config["train"], seed, loss, bridge)
        results = {
            "task": task, "split": "test", "n": N_TEST, "metric": "acc", "chance": 1 / k,
            "asked": {"setting": setting, "sender_prompt": "raw"}, "methods": rows,
        }  # fmt: skip
        (folder / "results.json").write_text(json.dumps(results))
        metrics = {name: row["accuracy"] for name, row in rows.items()}
        file = str(folder / "results.json")
        record = moved(record, COMPLETED, metrics=metrics, result_file=file, exit_code=0)
        self.records.append(record)
        return record

    def targets(self, task: str) -> list[int]:
        """Correct answers of a task, the same for every run; unbalanced for boolq."""
        draw = random.Random(f"targets {self.seed} {task}")
        weights = (38, 62) if task == "boolq" else [1] * CHOICES[task]
        return draw.choices(range(CHOICES[task]), weights, k=N_TEST)

    def _train(
        self,
        folder: Path,
        settings: dict[str, Any],
        seed: int,
        loss: Callable[[float], float],
        val: float,
    ) -> None:
        rows: list[dict[str, Any]] = []
        steps = settings["steps"]
        for step in range(1, steps + 1):
            noisy = loss(step / steps) * self.random.uniform(0.8, 1.2)
            rows.append({"step": step, "loss": noisy, "lr": 1e-4, "grad_norm": 1.0, "terms": {}})
            if step % 20 == 0:
                right = sum(self.random.random() < val for _ in range(N_VAL))
                rows.append({"step": step, "val": {"accuracy": right / N_VAL, "loss": noisy}})
        _write_lines(folder / "metrics.jsonl", rows)
        train = {**{k: v for k, v in settings.items() if k != "max_tokens"}, "seed": seed}
        wire = {"bridge": "perceiver", "max_tokens": settings["max_tokens"]}
        config = {"setting": {"wire": wire, "train": train}, "environment": {}}
        (folder / "config.json").write_text(json.dumps(config))


def _guess(draw: random.Random, target: int, k: int, accuracy: float) -> int:
    if draw.random() < accuracy:
        return target
    return draw.choice([c for c in range(k) if c != target])


def _prediction(i: int, said: int, target: int, k: int) -> dict[str, Any]:
    right = float(said == target)
    return {
        "id": f"q{i:04d}", "prediction": said, "target": target, "correct": bool(right),
        "parsed": True, "values": {"acc": right, "acc_norm": right},
        "scores": [-0.1 if c == said else -3.0 for c in range(k)], "n_bytes": 1040,
    }  # fmt: skip


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
