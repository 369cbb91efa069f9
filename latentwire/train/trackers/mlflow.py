"""MLflow tracker: a tracking server or a local store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from latentwire.train.trackers.base import PROJECT, TRACKERS, Tracker, Value

_MAX_PARAMS, _MAX_CHARS = 100, 500  # server limits: parameters per request, characters each


@TRACKERS.add("mlflow")
class MlflowTracker(Tracker):
    """Creates one MLflow run each time a training run is started or resumed.

    Configured by MLflow's environment variables, such as MLFLOW_TRACKING_URI and
    MLFLOW_EXPERIMENT_NAME.
    """

    package = "mlflow"

    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        import mlflow

        if not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & set(os.environ):
            mlflow.set_experiment(PROJECT)
        mlflow.start_run(run_name=name, tags={"folder": str(folder.absolute())})
        items = [(_allowed(key), str(value)[:_MAX_CHARS]) for key, value in config.items()]
        for first in range(0, len(items), _MAX_PARAMS):
            mlflow.log_params(dict(items[first : first + _MAX_PARAMS]))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        import mlflow

        mlflow.log_metrics({_allowed(k): float(v) for k, v in values.items()}, step=step)

    def finish(self, completed: bool) -> None:
        import mlflow

        mlflow.end_run("FINISHED" if completed else "FAILED")


def _allowed(key: str) -> str:
    return re.sub(r"[^\w\-. /]", "_", key)
