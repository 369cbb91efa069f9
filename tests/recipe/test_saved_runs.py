"""Run folders of earlier versions load and answer as they did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"


def test_saved_runs_of_an_earlier_version_answer_as_before() -> None:
    command = [
        sys.executable,
        str(GOLDEN / "same_numbers.py"),
        "compare",
        str(GOLDEN / "recording"),
    ]
    command += ["--parts", "runs", "--tolerance", "1e-4"]  # other CPUs round differently
    environment = {**os.environ, "PYTHONPATH": str(GOLDEN.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runs: same" in done.stdout
