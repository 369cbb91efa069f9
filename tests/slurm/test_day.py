"""A user's day on a real SLURM with tiny fakes: `make test-slurm` starts a cluster for these."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from telepathy.experiments.registry import Record, Registry

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "telepathy" / "experiments" / "suites" / "tasks"
SECONDS = 1800.0  # patience with a busy machine

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(3 * SECONDS),
    pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="make test-slurm starts the cluster"),
]


@dataclass
class Cluster:
    """The user's side: a registry, and jobs that are submitted from the checkout."""

    folder: Path

    @property
    def registry(self) -> Registry:
        return Registry(self.folder / "runs" / "experiment_registry.json")

    def sbatch(self, *arguments: str, options: tuple[str, ...] = ()) -> str:
        """Submit the script as the user does; the job's number."""
        script = "telepathy/submit_reasoning_final.slurm"
        index = ("--registry", str(self.registry.store.path), "--python", sys.executable)
        log = f"--output={self.folder}/job-%j.log"
        done = _call("sbatch", "--parsable", log, *options, script, *arguments, *index)
        return done.strip()

    def manager(self, *flags: str) -> dict[str, Any]:
        """What the manager says."""
        index = ("--registry", str(self.registry.store.path), "--json")
        found = _call(sys.executable, "scripts/experiment_manager.py", *flags, *index)
        return dict(json.loads(found))

    def wait(self, what: Callable[[], bool]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + SECONDS
        while not what():
            assert time.monotonic() < until, self.logs()
            time.sleep(0.5)

    def finish(self) -> None:
        """Wait until there is no job, not even one that a job submitted."""
        self.wait(lambda: not _call("squeue", "--noheader").strip())

    def states(self) -> dict[str, tuple[str, int]]:
        """State and number of starts by name."""
        return {r.name: (r.state, r.attempts) for r in self.registry.records()}

    def logs(self) -> str:
        """All that jobs and experiments said."""
        files = [*self.folder.glob("job-*.log"), *self.folder.glob("runs/*/log.txt")]
        return "\n".join(f"== {file.name}\n{file.read_text()[-2000:]}" for file in files)


@pytest.fixture
def cluster(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """An empty registry on the running cluster."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(ROOT)
    return Cluster(tmp_path)


def test_a_suite_completes_and_a_second_job_runs_nothing(cluster: Cluster) -> None:
    profile = cluster.folder / "there.yaml"
    profile.write_text("account: someone\npartition: preempt\ngpus: 2\n")
    flags = ("--suite", "smoke", "--profile", str(profile))
    # The first job is of no account: it submits one that is as the profile says.
    cluster.sbatch(*flags)
    cluster.finish()
    states = cluster.states()
    assert len(states) >= 12, cluster.logs()
    assert set(states.values()) == {("completed", 1)}, cluster.logs()
    records = cluster.registry.records()
    assert {r.gpu for r in records} == {"0", "1"} and len({r.job_id for r in records}) == 1
    assert all(r.metrics and Path(r.result_file).is_file() for r in records)
    cluster.sbatch("--suite", "smoke", "--profile", "none")
    cluster.finish()
    assert cluster.states() == states


def test_a_requeue_and_a_time_limit_lose_nothing(cluster: Cluster) -> None:
    n_steps = 6000
    suite = _suite(
        cluster.folder,
        f"settings: {{pair: fake, steps: {n_steps}, batch_size: 4, save_every: 100000, "
        "eval_every: 100000, timed: 0}\nbridges: {main: {bridge: [linear], soft_tokens: [2]}}\n",
    )
    # No checkpoint is due before the end: what is kept is what was saved for the signals.
    job = cluster.sbatch("--suite", suite, "--profile", "none", options=("--signal=B:USR1@60",))
    cluster.wait(lambda: _steps(cluster)[1:] != [])
    _call("scontrol", "requeue", job)
    cluster.wait(lambda: _attempts(cluster) == 1 and _record(cluster).state == "preempted")
    kept = len(_steps(cluster))
    cluster.wait(lambda: _attempts(cluster) == 2 and len(_steps(cluster)) > kept)
    minutes = _elapsed(job) / 60
    _call("scontrol", "update", f"JobId={job}", f"TimeLimit={math.ceil(minutes + 0.75)}")
    cluster.wait(lambda: _attempts(cluster) == 2 and _record(cluster).state == "preempted")
    cluster.wait(lambda: "Restarts=2" in _call("scontrol", "show", "job", job))
    _call("scontrol", "update", f"JobId={job}", "TimeLimit=UNLIMITED")
    cluster.finish()
    record = _record(cluster)
    assert (record.state, record.attempts) == ("completed", 3), cluster.logs()
    assert record.n_preemptions == 2 and record.n_failures == 0 and record.metrics["bridge"]
    assert _steps(cluster) == list(range(1, n_steps + 1))


def test_a_failure_is_classed_listed_marked_and_mended(cluster: Cluster) -> None:
    for file in TASKS.glob("colours.*"):
        shutil.copy(file, cluster.folder)
    lost = cluster.folder / "colours.test.csv"
    lost.rename(cluster.folder / "elsewhere.csv")
    suite = _suite(
        cluster.folder,
        "settings: {pair: fake, prompt_val_limit: 4}\n"
        "baselines:\n"
        "  bad: {tasks: [colours.yaml], methods: [zeroshot_receiver]}\n"
        f"  good: {{tasks: ['{TASKS}/weather.yaml'], methods: [zeroshot_receiver]}}\n",
        tasks=f"[colours.yaml, '{TASKS}/weather.yaml']",
    )
    flags = ("--suite", suite, "--profile", "none")
    cluster.sbatch(*flags)
    cluster.finish()
    bad, good = "mine.colours.bad", "mine.weather.good"
    assert cluster.states() == {bad: ("failed", 1), good: ("completed", 1)}, cluster.logs()
    (failed,) = cluster.manager("--list", "failed")["experiments"]
    assert failed["name"] == bad and failed["error_class"] == "data"
    assert "colours.test.csv" in cluster.manager("--recent-failures")["failures"][0]["error"]
    (cluster.folder / "elsewhere.csv").rename(lost)
    marked = cluster.manager("--mark-rerun-all-failed", "--class", "data")["marked"]
    assert [record["name"] for record in marked] == [bad]
    cluster.sbatch(*flags)
    cluster.finish()
    assert cluster.states() == {bad: ("completed", 2), good: ("completed", 1)}, cluster.logs()


def _suite(folder: Path, text: str, tasks: str = f"['{TASKS}/colours.yaml']") -> str:
    (folder / "mine.yaml").write_text(f"name: mine\ntasks: {tasks}\n{text}")
    return str(folder / "mine.yaml")


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _record(cluster: Cluster) -> Record:
    (record,) = cluster.registry.records()
    return record


def _attempts(cluster: Cluster) -> int:
    records = cluster.registry.records()
    return records[0].attempts if records else 0


def _steps(cluster: Cluster) -> list[int]:
    """Training steps that the run wrote down, in their order."""
    files = list(cluster.folder.glob("runs/*/metrics.jsonl"))
    lines = files[0].read_text().splitlines() if files else []
    try:
        return [found["step"] for found in map(json.loads, lines) if "loss" in found]
    except ValueError:  # a line is being written
        return []


def _elapsed(job: str) -> float:
    """Seconds that a job has run since its last start."""
    *rest, seconds = _call("squeue", "--noheader", "--format=%M", f"--jobs={job}").split(":")
    return 60 * int(rest[-1] if rest else 0) + int(seconds)
