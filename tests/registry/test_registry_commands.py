"""Command lines of the registry, shell functions, and commands run as experiments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from telepathy.cli.experiment_manager import confirm_fixes
from telepathy.cli.main import app
from telepathy.experiments.config import build_config
from telepathy.experiments.manager import apply_fixes
from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.execution import exit_code_of, run_experiment
from tests.registry.synthetic_registry import SyntheticRegistry

ROOT = Path(__file__).parents[2]
MANAGER = str(ROOT / "scripts" / "experiment_manager.py")
SCRIPT = str(ROOT / "telepathy" / "experiment_registry.py")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "runs" / "experiment_registry.json")


def _call(registry: Registry, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, "--registry", str(registry.store.path), *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT) if script == SCRIPT else ""},
        cwd=registry.store.runs_dir.parent,
        capture_output=True,
        text=True,
    )


def _shell(registry: Registry, text: str) -> list[str]:
    return ["bash", "-c", f"source {ROOT}/scripts/registry_functions.sh; {text}"]


def _shell_environment(registry: Registry) -> dict[str, str]:
    return {
        **os.environ,
        "REGISTRY_FILE": str(registry.store.path),
        "REGISTRY_PYTHON": sys.executable,
    }


def _wait_for(registry: Registry, name: str, log: str = "") -> None:
    for _ in range(300):
        found = [r for r in registry.records() if r.name == name and r.state == "running"]
        if found and log in ((registry.folder(found[0]) / "log.txt").read_text() if log else ""):
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} did not start")


def test_manager_imports_nothing_heavy_and_fits_a_terminal(registry: Registry) -> None:
    registry.fail(registry.start("a" * 60), error="MemoryError: " + "x" * 200)
    registry.start("b")
    code = (
        "import sys, telepathy.cli.experiment_manager; "
        "assert not {'torch', 'pydantic', 'typer', 'rich', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    for flags in (["--status"], ["--list", "all"], ["--recent-failures"], ["--validate"]):
        done = _call(registry, MANAGER, *flags)
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines()[1:]), default=0) <= 80


def test_manager_marks_experiments_and_prints_json(registry: Registry) -> None:
    registry.fail(registry.start("a"), error="MemoryError")
    registry.fail(registry.start("b"), error="KeyError: 'x'")
    status = json.loads(_call(registry, MANAGER, "--status", "--json").stdout)
    assert status["states"]["failed"] == 2 and status["error_classes"]["out-of-memory"] == 1
    failures = json.loads(_call(registry, MANAGER, "--recent-failures", "1", "--json").stdout)
    assert failures["failures"][0]["name"] == "b"
    marked = json.loads(
        _call(registry, MANAGER, "--mark-rerun-all-failed", "--class", "oom", "--json").stdout
    )
    assert [r["name"] for r in marked["marked"]] == ["a"]
    _call(registry, MANAGER, "--mark-rerun", "b", "--reason", "why not")
    shown = json.loads(_call(registry, MANAGER, "--details", "b", "--json").stdout)
    assert (shown["state"], shown["rerun_reason"]) == ("needs-rerun", "why not")
    registry.store.path.write_text("{")
    assert _call(registry, MANAGER, "--validate").returncode == 1
    rebuilt = json.loads(_call(registry, MANAGER, "--rebuild-registry", "--json").stdout)
    assert rebuilt["n"] == 2 and rebuilt["set_aside"]
    wrong = _call(registry, MANAGER, "--details", "c")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: Unknown experiment 'c'")


def test_runs_commands_print_json(registry: Registry) -> None:
    registry.fail(registry.start("a"), error="MemoryError")
    file = ["--registry", str(registry.store.path)]
    for command in (["status"], ["list"], ["show", "a"], ["rerun", "a"], ["rebuild"], ["merge"]):
        done = CliRunner().invoke(app, ["runs", *command, *file, "--json"])
        assert done.exit_code == 0, done.output
        assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.parametrize("script", [True, False])
def test_analyze_prints_or_writes_a_page(tmp_path: Path, script: bool) -> None:
    fake = SyntheticRegistry(tmp_path)
    fake.completed(fake.begun("boolq", "bridge"), {"bridge": 0.9, "zero": 0.5})
    fake.failed(fake.begun("boolq", "bridge", 1), ["NonFiniteError: Step 3: loss nan"])
    registry = fake.registry()
    file = ["--registry", str(registry.store.path)]

    def call(*flags: str) -> str:
        if script:
            done = _call(registry, MANAGER, "--analyze", *flags)
            assert done.returncode == 0, done.stderr
            return done.stdout
        invoked = CliRunner().invoke(app, ["runs", "analyze", *file, *flags])
        assert invoked.exit_code == 0, invoked.output
        return invoked.stdout

    assert "nan" in call()
    page = tmp_path / "docs" / "page.md"
    found = json.loads(call("--json", "--out", str(page)))
    assert {"succeeded", "failed", "looks_wrong", "next"} <= found.keys()
    assert found["page"] == str(page) and "- **nan**" in page.read_text()


def test_apply_fixes_needs_confirmation(registry: Registry) -> None:
    _fail_out_of_memory(registry)
    file = ["--registry", str(registry.store.path)]
    alone = _call(registry, MANAGER, "--status", "--apply-fixes")
    assert alone.returncode == 2 and "Give both" in alone.stderr
    # Without a terminal, nothing is written.
    looked = _call(registry, MANAGER, "--analyze", "--apply-fixes")
    assert looked.returncode == 1 and "Use --yes" in looked.stdout
    assert len(registry.records()) == 1
    command = ["runs", "analyze", "--apply-fixes", *file]
    assert CliRunner().invoke(app, command).exit_code == 1 and len(registry.records()) == 1
    done = CliRunner().invoke(app, [*command, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    (key,) = json.loads(done.stdout)["written"]
    assert registry.find(key).state == "pending"


@pytest.mark.parametrize(("answer", "wanted"), [("y", True), (" YES ", True), ("", False)])
def test_apply_fixes_asks_on_a_terminal(
    answer: str,
    wanted: bool,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _fail_out_of_memory(registry)
    asked: list[str] = []

    def reply(question: str) -> str:
        assert "batch_size: 16 -> 8" in capsys.readouterr().out  # the fixes are shown first
        asked.append(question)
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", reply)
    view = apply_fixes(registry, confirm=confirm_fixes)
    assert asked == ["Write 1 pending experiments? [y/N] "]
    assert view.exit_code == int(not wanted) and len(view.data["written"]) == int(wanted)
    assert len(registry.records()) == 1 + int(wanted)
    assert ("Nothing was written" in "\n".join(view.lines)) != wanted


def _fail_out_of_memory(registry: Registry) -> None:
    """Add one failure that a smaller batch fixes."""
    record = registry.start("a", build_config({"task.name": "boolq"}).resolved())
    registry.fail(record, error="torch.OutOfMemoryError: CUDA out of memory.")


def test_registry_script_keeps_its_commands(registry: Registry) -> None:
    config = ["--config", '{"lr": 1}']
    assert _call(registry, SCRIPT, "should_run", "a").stdout == "1|new experiment\n"
    assert _call(registry, SCRIPT, "start", "a", *config, "--gpu", "1").returncode == 0
    assert _call(registry, SCRIPT, "should_run", "a", *config).stdout.startswith("0|running on")
    assert _call(registry, SCRIPT, "start", "a", *config).returncode == 1
    assert _call(registry, SCRIPT, "heartbeat", "a").returncode == 0
    done = _call(registry, SCRIPT, "complete", "a", "--metrics", '{"acc": 0.5}')
    assert done.returncode == 0, done.stderr
    assert registry.find("a").metrics == {"acc": 0.5}
    assert "completed" in _call(registry, SCRIPT, "summary").stdout
    assert _call(registry, SCRIPT, "should_run", "a", "--config", "nope").returncode == 2


def test_run_experiment_accepts_only_new_results(registry: Registry) -> None:
    text = '{"metric": "acc", "methods": {"bridge": {"metrics": {"acc": {"value": 0.5}}}}}'
    write = f"echo '{text}' > $LATENTWIRE_RUN_DIR/results.json"
    done = run_experiment(registry, "a", ["bash", "-c", write])
    assert done.metrics == {"bridge": {"value": 0.5}} and exit_code_of(done) == 0
    registry.mark_rerun(["a"])
    file = registry.folder(done) / "results.json"
    os.utime(file, (1e9, 1e9))
    again = run_experiment(registry, "a", ["true"], result_file=file)
    assert again.state == "failed" and "did not write" in again.error and not again.metrics


def test_run_experiment_records_the_cause_of_a_failure(registry: Registry) -> None:
    code = "from telepathy.cli.errors import run_guarded\n"
    code += "from latentwire.core.errors import DataError\n"
    code += "def f(): raise DataError('no rows')\nprint('x'); run_guarded(f)"
    done = run_experiment(registry, "a", [sys.executable, "-c", code])
    assert (done.state, done.error_class, done.exit_code) == ("failed", "data", 1)
    assert done.error == "DataError: no rows" and done.log_tail == ["x", "error: no rows"]
    assert run_experiment(registry, "b", ["no-such-program"]).exit_code == 127
    assert run_experiment(registry, "c", ["bash", "-c", "exit 75"]).state == "preempted"


@pytest.mark.parametrize(
    ("work", "code", "state"),
    [("true", 0, "completed"), ("exit 3", 3, "failed"), ("kill -KILL $$", 137, "failed")],
)
def test_shell_functions_run_commands(registry: Registry, work: str, code: int, state: str) -> None:
    text = f"registry_run_experiment a --config '{{\"x\": 1}}' -- bash -c '{work}'"
    done = subprocess.run(_shell(registry, text), env=_shell_environment(registry))
    assert (done.returncode, registry.find("a", {"x": 1}).state) == (code, state)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("steps", [True, False])
def test_shell_functions_record_a_killed_shell(
    registry: Registry, number: int, steps: bool
) -> None:
    text = "registry_run_experiment a -- bash -c 'echo up; sleep 60'"
    if steps:
        text = "registry_start a; while true; do sleep 0.1; done"
    shell = subprocess.Popen(_shell(registry, text), env=_shell_environment(registry))
    _wait_for(registry, "a", "" if steps else "up")
    time.sleep(0.5)  # wait until the shell has set its traps
    shell.send_signal(number)
    assert shell.wait(timeout=60) == 75
    assert registry.find("a").state == "preempted"


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("registry_complete a --metrics '{\"acc\": 1}'", "completed"),
        ("registry_fail a --error 'MemoryError'", "failed"),
        ("exit 4", "failed"),
        ("exit 75", "preempted"),
    ],
)
def test_shell_functions_record_the_end(registry: Registry, end: str, state: str) -> None:
    text = f"registry_should_run a && registry_start a && {end}"
    subprocess.run(_shell(registry, text), env=_shell_environment(registry), timeout=60)
    assert registry.find("a").state == state
