"""`latentwire submit`: profiles, and the call of sbatch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from latentwire.core.errors import ConfigError, UnknownNameError, UsageError
from telepathy.cli.main import app
from telepathy.experiments.schedulers.slurm import (
    Profile,
    SubmitError,
    fits,
    load_profile,
    sbatch_command,
    submit,
)

_SBATCH = (
    '#!/bin/sh\nenv | grep -c "^SLURM_JOB" >&2\necho "$@" > "$SAID"\n[ -z "$REFUSE" ] && echo 7\n'
)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name; the file where it leaves its arguments."""
    (tmp_path / "sbatch").write_text(_SBATCH)
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "said"


def test_submit_calls_sbatch_with_the_profile(sbatch: Path) -> None:
    (sbatch.parent / "profiles").mkdir()
    text = "account: a\npartition: p\ntime: '1:00:00'\ngpus: 4\njobs: 3\noptions: [--qos=q]\n"
    (sbatch.parent / "profiles" / "there.yaml").write_text(text)
    command = "submit smoke --partition other --push".split()
    dry = CliRunner().invoke(app, [*command, "--dry-run", "--json"])
    assert dry.exit_code == 0, dry.output
    assert json.loads(dry.stdout)["n_due"] >= 12 and not sbatch.exists()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "Submitted job 7." in done.stdout
    said = sbatch.read_text()
    for words in (
        "--account=a --partition=other --time=1:00:00 --gpus-per-node=4 --qos=q",
        "--array=1-3",
        "--suite smoke --scale full",
        "--profile none --push",
    ):
        assert words in said


def test_load_profile_reports_mistakes(sbatch: Path) -> None:
    assert load_profile(None) == load_profile("none") == Profile()
    folder = sbatch.parent / "profiles"
    folder.mkdir()
    (folder / "a.yaml").write_text("acount: x\ntime: 12:00:00\n")
    with pytest.raises(ConfigError, match=r"2 mistake(.|\n)*put it in quotes(.|\n)*'account'"):
        load_profile(None)
    (folder / "b.yaml").write_text("")
    with pytest.raises(UnknownNameError, match="a, b, or none"):
        load_profile(None)
    with pytest.raises(UnknownNameError, match="Unknown profile 'c'"):
        load_profile("c")
    assert load_profile("b") == Profile()


def test_load_profile_reads_a_path() -> None:
    path = Path(__file__).parents[2] / "profiles" / "marlowe.yaml"
    options = load_profile(str(path)).sbatch_options()
    assert {"--account=marlowe-m000066", "--partition=preempt"} <= set(options)


def test_submit_passes_no_slurm_variables_on(sbatch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("SLURM_JOB_ACCOUNT", "a")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    assert fits(Profile(account="a", gpus=2)) and not fits(Profile(gpus=3))
    assert not fits(Profile(account="b")) and not fits(Profile(partition="p"))
    assert submit(sbatch_command(Profile(), 3, ["--x"])) == "7"
    monkeypatch.setenv("REFUSE", "1")
    # No SLURM_JOB variable was left.
    with pytest.raises(SubmitError, match=r"rejected the job \(0\)"):
        submit(sbatch_command(Profile(), 3, []))


def test_submit_without_sbatch_names_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="--local"):
        submit(sbatch_command(Profile(), 1, []))
