"""A stand-in for `python -m telepathy.run`, so that workers are tested without models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from telepathy.experiments.config import build_config
from telepathy.experiments.registry import Registry
from telepathy.experiments.suites.expansion import Experiment
from telepathy.experiments.suites.spec import Resources

# Called as `python -m telepathy.run FOLDER`; the task in experiment.json says what to do.
_STAND_IN = """\
#!/usr/bin/env bash
out="$3/results.json"
case "$(grep -A1 '"task": {' "$3/experiment.json")" in
    *nap*) sleep 0.3; echo "{\\"threads\\": $OMP_NUM_THREADS}" >"$out" ;;
    *work*) echo '{"methods": {"bridge": {"metrics": {"accuracy": {"value": 0.5, "ci_low": 0.4,' \
        '"ci_high": 0.6, "n": 9}}}}}' >"$out" ;;
    *wait*) trap 'exit 75' USR1 TERM; for _ in {1..600}; do sleep 0.1; done ;;
    *) echo "MemoryError: too much" && exit 1 ;;
esac
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty registry; experiments run the stand-in."""
    program = tmp_path / "stand-in"
    program.write_text(_STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("LATENTWIRE_PYTHON", str(program))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Registry(tmp_path / "runs" / "experiment_registry.json")


@pytest.fixture
def make(registry: Registry) -> Callable[..., Experiment]:
    """An experiment on the task `does`, which names what the stand-in does."""

    def make(
        name: str, does: str = "work", *, needs: tuple[str, ...] = (), alone: bool = False
    ) -> Experiment:
        options = {"task.name": does, "wire.bridge": "mlp", "wire.soft_tokens": 4}
        if alone:
            options |= {"kind": "benchmark", "benchmark": {"name": "latency", "run": "x"}}
        cost = Resources(memory_gb=0.1)
        return Experiment(name, build_config(options), registry.store.runs_dir, cost, needs)

    return make
