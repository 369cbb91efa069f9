"""Print the result of a training: a line per run with its folder, or one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telepathy.reporting.text import print_json

if TYPE_CHECKING:
    from latentwire.train import SeedsResult, TrainResult
    from telepathy.run import TrainedBridge


def show_training(done: TrainedBridge, as_json: bool) -> None:
    """Print the best validation of one run, or of one run per seed.

    Of several processes only the first one prints.

    Args:
        done: The finished training.
        as_json: Print one JSON object.
    """
    from latentwire.train import SeedsResult

    if not done.is_first:
        return
    facts = {"task": "+".join(task.name for task in done.tasks), "pair": done.wire.pair}
    if isinstance(done.result, SeedsResult):
        _show_seeds(done.result, facts, as_json)
    else:
        _show_run(done.result, facts, as_json)


def _show_run(result: TrainResult, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        counts = {"n_train": result.n_train, "n_cut": result.n_cut, "n_steps": result.n_steps}
        where = {"train_s": result.train_s, "run": str(result.out_dir)}
        print_json({**facts, **counts, "val": result.best, **where})
        return
    print(f"Best on val: {_metrics(result.best)}")
    if result.n_cut:
        print(f"{result.n_cut:,} of {result.n_train:,} training texts were truncated.")
    print(f"Run folder: {result.out_dir}")
    print(f"Next: latentwire eval --run {result.out_dir}")


def _show_seeds(result: SeedsResult, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        runs = {str(s): {"val": r.best, "run": str(r.out_dir)} for s, r in result.runs.items()}
        print_json({**facts, "seeds": runs, "mean": result.mean, "sd": result.sd})
        return
    for seed, run in result.runs.items():
        print(f"Seed {seed}, best on val: {_metrics(run.best)}   {run.out_dir}")
    means = "  ".join(
        f"{name} {value:.4g} (sd {result.sd[name]:.2g})" for name, value in result.mean.items()
    )
    print(f"Mean of {len(result.runs)} seeds: {means}")


def _metrics(best: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in best.items())
