"""The recipes of docs/extending.md work as written: one file each, no other file touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Recipe -> what a user runs after saving its first code block as `extension.py`.
USES = {
    "A bridge": (
        "latentwire.bridges",
        "max_pool = extension:MaxPoolBridge",
        "train --task colours.yaml --pair fake --bridge max_pool --steps 2 --batch-size 4 "
        "--soft-tokens 4 --out run",
    ),
    "An objective": (
        "latentwire.objectives",
        "sparsity = extension:SparsityObjective",
        "train --task colours.yaml --pair fake --loss answer+0.1*sparsity(epsilon=0.1) --steps 2 "
        "--batch-size 4 --soft-tokens 4 --out run",
    ),
    "A method": (
        "latentwire.methods",
        "",
        "eval --task colours.yaml --pair fake --method {name} --timed 0 --json",
    ),
    "A codec": ("latentwire.codecs", "int8_token = extension:Int8Token", "bench --help"),
}


def _blocks(title: str, language: str) -> list[str]:
    """Code blocks of one section, in order."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.M | re.S)


def _run(folder: Path, arguments: list[str]) -> str:
    """Run Python with `folder` first on the path, as an installed package would be."""
    command = [sys.executable, *arguments]
    env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _install(folder: Path, group: str, entry: str) -> None:
    """Make a folder on the path an installed package with one entry point."""
    info = folder / "extension-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extension\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the task of the recipe."""
    (tmp_path / "colours.yaml").write_text(_blocks("A task", "yaml")[0])
    for split, n in (("train", 40), ("test", 12)):
        rows = ["text,colour"]
        for i in range(n):
            text, colour = ("a fire", "warm") if i % 2 else ("the ice", "cold")
            rows.append(f"{split} {i} {text},{colour}")
        (tmp_path / f"colours.{split}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.mark.parametrize("title", USES)
def test_recipe_works_from_an_installed_package(title: str, project: Path) -> None:
    group, entry, command = USES[title]
    code = _blocks(title, "python")[0]
    (project / "extension.py").write_text(code)
    name = re.search(r'\.add\(\s*"(\w+)"', code)
    assert name is not None
    kind = re.search(r"^class (\w+)", code, re.M)
    assert kind is not None
    _install(project, group, entry or f"{name[1]} = extension:{kind[1]}")
    _run(project, ["-m", "telepathy.cli", *command.format(name=name[1]).split()])


def test_codec_recipe_sizes_are_exact(project: Path) -> None:
    (project / "extension.py").write_text(_blocks("A codec", "python")[0])
    _install(project, "latentwire.codecs", USES["A codec"][1])
    code = (
        "from latentwire import Wire, load_task\n"
        "wire = Wire.build(pair='fake', soft_tokens=4, codec='int8_token')\n"
        "wire.task = load_task('colours.yaml')\n"
        "message = wire.send('a fire')\n"
        "assert len(message.to_bytes()) == message.n_bytes\n"
    )
    _run(project, ["-c", code])


def test_model_family_recipe_agrees_with_the_whole_model(project: Path) -> None:
    family, check = _blocks("A model family", "python")
    (project / "tower_family.py").write_text(family)
    _run(project, ["-c", check])


def test_task_recipe_is_scored_right(project: Path) -> None:
    _run(project, ["-m", "telepathy.cli", "tasks", "check", "colours.yaml"])
    command = "eval --task colours.yaml --pair fake --method gold --timed 0 --json"
    assert '"value": 1.0' in _run(project, ["-m", "telepathy.cli", *command.split()])
