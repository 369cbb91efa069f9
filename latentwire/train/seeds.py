"""One training per seed: how much of a result is luck."""

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
from latentwire.train.config import TrainConfig
from latentwire.train.loop import TrainResult, train_bridge
from latentwire.train.processes import Processes
from latentwire.train.trackers import Trackers
from latentwire.wire.wire import Wire


@dataclass(frozen=True)
class SeedsResult:
    """What several trainings came to.

    Args:
        out_dir: Folder that has one run folder per seed, `seed-<n>`, and `summary.json`.
        runs: Each seed's result.
        mean: Mean over seeds of each value of their best validations.
        sd: Sample standard deviation of the same (n - 1).
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
    **settings: Any,
) -> SeedsResult:
    """Train one bridge per seed. Models are loaded once, and sender states computed once.

    Args:
        wire: Gives the pair and the kind of bridge; its own bridge is not trained.
        task: As in `train_bridge`.
        out_dir: Each seed's run lies below it.
        seeds: Two or more, all different.
        config: Settings; its seed is replaced by each of `seeds`.
        resume: Go on where it was stopped; finished seeds are not run again.
        overwrite: Replace the runs.
        progress: As in `train_bridge`.
        trackers: As in `train_bridge`; each seed is a run there.
        settings: Fields of TrainConfig.
    Raises: UsageError: If there are fewer than two seeds or one is there twice, and as
        `train_bridge` does.
    """
    if len(seeds) < 2 or len({*seeds}) < len(seeds):
        raise UsageError(f"Give two or more different seeds, not {list(seeds)}.")
    config = config or TrainConfig.of(**settings)
    out = Path(out_dir)
    runs = {
        seed: train_bridge(
            _fresh(wire, seed),
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


def _fresh(wire: Wire, seed: int) -> Wire:
    """A wire of the same spec between the same loaded models, with a new bridge."""
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
    return Wire(wire.sender, wire.receiver, bridge, wire.spec)
