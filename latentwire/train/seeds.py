"""Training runs with several seeds, and the spread of their results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.bridge import build_bridge
from latentwire.core.errors import UsageError
from latentwire.core.files import write_json
from latentwire.core.progress import Progress
from latentwire.data import Task
from latentwire.train.bridge_training import TrainResult, train_bridge
from latentwire.train.config import TrainConfig
from latentwire.train.processes import Processes
from latentwire.train.trackers import Trackers
from latentwire.wire.wire import Wire


@dataclass(frozen=True)
class SeedsResult:
    """Results of training runs with several seeds.

    Args:
        out_dir: Folder with one run folder per seed, `seed-<n>`, and `summary.json`.
        runs: Result of each seed.
        mean: Mean over seeds of each metric of the best validation.
        sd: Sample standard deviation over seeds (n - 1) of each metric.
    """

    out_dir: Path
    runs: dict[int, TrainResult]
    mean: dict[str, float]
    sd: dict[str, float]


def train_seeds(
    wire: Wire,
    task: Task | Sequence[Task],
    out_dir: str | Path,
    seeds: Sequence[int],
    *,
    config: TrainConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    trackers: Trackers | None = None,
    **options: Any,
) -> SeedsResult:
    """Train one bridge per seed. Models are loaded once, and sender states computed once.

    Args:
        wire: Models and type of bridge; the bridge of this wire is not trained.
        task: Task or tasks, as in `train_bridge`.
        out_dir: Parent folder of the run folders.
        seeds: Two or more different seeds.
        config: Training options; the seed is replaced by each of `seeds`.
        resume: Resume interrupted seeds and skip completed ones.
        overwrite: Replace existing runs.
        progress: Called with progress updates.
        trackers: Trackers that receive the metrics; each seed is a separate run.
        options: Fields of TrainConfig, instead of `config`.
    Raises: UsageError: If `seeds` has fewer than two or repeated seeds; and the errors of
        `train_bridge`.
    """
    if len(seeds) < 2 or len({*seeds}) < len(seeds):
        raise UsageError(f"Give two or more different seeds (given: {list(seeds)}).")
    config = config or TrainConfig.of(**options)
    out = Path(out_dir)
    runs = {
        seed: train_bridge(
            _with_new_bridge(wire, seed),
            task,
            out / f"seed-{seed}",
            config=TrainConfig.of(**{**config.model_dump(), "seed": seed}),
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            trackers=trackers,
        )
        for seed in seeds
    }
    values = {key: [run.best[key] for run in runs.values()] for key in runs[seeds[0]].best}
    found = SeedsResult(
        out,
        runs,
        {key: statistics.mean(each) for key, each in values.items()},
        {key: statistics.stdev(each) for key, each in values.items()},
    )
    if Processes.join().is_first:
        best = {str(seed): run.best for seed, run in runs.items()}
        summary = {"split": "val", "seeds": best, "mean": found.mean, "sd": found.sd}
        write_json(out / "summary.json", summary)
    return found


def _with_new_bridge(wire: Wire, seed: int) -> Wire:
    """Wire with the same models and spec, and a new bridge."""
    old = wire.bridge
    bridge = build_bridge(
        wire.spec.bridge,
        n_layers=old.n_layers,
        sender_width=old.sender_width,
        receiver_width=old.receiver_width,
        soft_tokens=old.soft_tokens,
        seed=seed,
        **wire.spec.options,
    )
    return Wire.of(wire.sender, wire.receiver, bridge, wire.spec)
