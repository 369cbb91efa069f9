"""Records of earlier versions, whose experiments were shell commands with flat configurations.

They stay in the registry and are never executed. A record that is completed or has no retries left
also counts for the equal experiment of the current version, which is then not run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from latentwire.core.errors import UsageError
from telepathy.experiments.benchmarks import benchmark_options
from telepathy.experiments.config import (
    ExperimentConfig,
    build_config,
    dotted_keys,
    is_executable,
    replace,
    uses,
)
from telepathy.experiments.registry import Record
from telepathy.experiments.suites.expansion import Experiment

# Defaults of the last version with flat configurations, which recorded only what differed.
_DEFAULTS: dict[str, Any] = {
    **{"pair": None, "device": "auto", "dtype": "auto", "bridge": "perceiver", "soft_tokens": 8},
    **{"layer": None, "sender_prompt": "raw", "max_tokens": None, "prompt": None, "codec": "fp16"},
    **{"steps": 100, "batch_size": 16, "grad_accum": 1, "lr": 5e-4, "warmup_steps": 10},
    **{"weight_decay": 0.01, "clip_norm": 1.0, "loss": "answer", "mixing": "proportional"},
    **{"ema": 0.95, "patience": None, "init": "auto", "precision": "auto", "eval_every": 25},
    **{"save_every": 50, "keep": 2, "split": "test", "prompt_val_limit": 64, "timed": 8},
    **{"shots": 4, "relay_tokens": 64, "compressed_bytes": 128, "lora_rank": 8},
}


def records_of(experiments: Iterable[Experiment], records: Sequence[Record]) -> dict[str, Record]:
    """Map the key of each experiment to its record; experiments without one are omitted.

    Args:
        experiments: Experiments of a suite.
        records: All records of the registry. A record of an earlier version is used for an
            equal experiment that has no record of its own.
    """
    known = {record.key: record for record in records}
    by_name: dict[str, list[Record]] = {}
    for record in records:
        if not is_executable(record.config):
            by_name.setdefault(record.name, []).append(record)
    found = {}
    for experiment in experiments:
        same = (r for r in by_name.get(experiment.name, ()) if _is_same(r, experiment.config))
        if own := known.get(experiment.key) or next(same, None):
            found[experiment.key] = own
    return found


def executable_config(experiment: Experiment, records: Mapping[str, Record]) -> ExperimentConfig:
    """The configuration to execute: a benchmark may measure the run of an earlier record.

    Args:
        experiment: Experiment that is about to start.
        records: Record by key of the experiment, from `records_of`.
    """
    benchmark = experiment.config.benchmark
    for needed in experiment.needs:
        record = records.get(needed)
        if benchmark and record and record.key != needed and record.result_file:
            run = Path(record.result_file).parent / benchmark.run[len(needed) :].strip("/")
            relative = os.path.relpath(run, experiment.runs_dir)
            return replace(experiment.config, {"benchmark.run": relative})
    return experiment.config


def _is_same(record: Record, config: ExperimentConfig) -> bool:
    earlier = _resolved(json.dumps(record.config, sort_keys=True))
    return earlier is not None and earlier == _comparable(config)


@cache
def _resolved(flat: str) -> dict[str, Any] | None:
    """Translate a flat configuration to the current format; None if it has no equivalent."""
    given: dict[str, Any] = json.loads(flat)
    kind, benchmark, run = (given.pop(name, None) for name in ("kind", "benchmark", "of"))
    try:
        if benchmark is not None:
            names = ("task", "task_version", "device", "dtype")
            options = {k: given.pop(k) for k in [*given] if k not in names}
            options = benchmark_options(benchmark, options)
        values = dotted_keys(_DEFAULTS | given)
        values = {key: value for key, value in values.items() if uses(kind, key)}
        if benchmark is not None:
            values["benchmark"] = {"name": benchmark, "run": run, "options": options}
        return _comparable(build_config({"kind": kind}, values))
    except (UsageError, KeyError):
        return None


def _comparable(config: ExperimentConfig) -> dict[str, Any]:
    """The resolved configuration, with the name of the measured experiment instead of its key."""
    found = config.resolved()
    if "benchmark" in found:
        run = found["benchmark"]["run"].partition("/")[0]
        found["benchmark"]["run"] = run.rpartition("-")[0]
    return found
