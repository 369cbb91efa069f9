"""A stand-in for `latentwire`, so that the running of experiments is tested without models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from telepathy.experiments.registry import Registry
from telepathy.experiments.suites.expansion import Experiment
from telepathy.experiments.suites.spec import Need

# Called as `python -m telepathy.cli COMMAND FILE`.
_STAND_IN = """\
#!/usr/bin/env bash
case "$3" in
    nap) sleep 0.3; echo "{\\"threads\\": $OMP_NUM_THREADS}" >"$4" ;;
    work) echo '{"methods": {"bridge": {"metrics": {"accuracy": {"value": 0.5, "ci_low": 0.4,' \
        '"ci_high": 0.6, "n": 9}}}}}' >"$4" ;;
    wait) trap 'exit 75' USR1 TERM; for _ in {1..600}; do sleep 0.1; done ;;
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
    """An experiment that does one of the stand-in's commands."""

    def make(
        name: str, does: str = "work", *, needs: tuple[str, ...] = (), alone: bool = False
    ) -> Experiment:
        config = {"kind": "bridge", "task": "t", "bridge": "mlp", "soft_tokens": 4, "seed": 0}
        experiment = Experiment(name, config, (), Path(), Need(memory_gb=0.1), needs)
        file = registry.store.folder(experiment.key) / "results.json"
        line = f"latentwire {does} {file}"
        return Experiment(name, config, (line,), file, experiment.need, needs, alone)

    return make
