"""`latentwire runs`: what `scripts/experiment_manager.py` does, as commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from telepathy.cli.experiment_manager import analyze
from telepathy.cli.options import JsonOption
from telepathy.experiments import manager
from telepathy.experiments.registry import DEFAULT_PATH, Registry
from telepathy.reporting.text import print_view

app = typer.Typer(no_args_is_help=True, help="Look at experiments, have some run again.")
RegistryOption = Annotated[Path, typer.Option("--registry", help="The registry's index.")]


@app.command("status")
def status_command(registry: RegistryOption = DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """How many experiments are in which state, and what runs."""
    print_view(manager.status(Registry(registry)), as_json)


@app.command("list")
def list_command(
    state: Annotated[str, typer.Argument(help="A state, or all.")] = "all",
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """The experiments in one state."""
    print_view(manager.listing(Registry(registry), state), as_json)


@app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="Name or key of an experiment.")],
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """All that is known of one experiment."""
    print_view(manager.details(Registry(registry), name), as_json)


@app.command("rerun")
def rerun_command(
    name: Annotated[str | None, typer.Argument(help="Name or key; none: all failed.")] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    error_class: Annotated[
        str | None, typer.Option("--class", help="Of all failed only these, e.g. oom.")
    ] = None,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Have one experiment, or all failed ones, run again."""
    known = Registry(registry)
    marked = (
        manager.mark_rerun(known, name, reason)
        if name
        else manager.mark_rerun_failed(known, error_class)
    )
    print_view(marked, as_json)


@app.command("validate")
def validate_command(registry: RegistryOption = DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Whether index, records and runs agree; exit code 1 if not."""
    print_view(manager.validate(Registry(registry)), as_json)


@app.command("rebuild")
def rebuild_command(
    runs_dir: Annotated[Path | None, typer.Option(help="Where the run folders are.")] = None,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Make the index anew from the records of the run folders."""
    print_view(manager.rebuild(Registry(registry), runs_dir), as_json)


@app.command("merge")
def merge_command(
    files: Annotated[list[Path] | None, typer.Argument(help="Registries to take in.")] = None,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Resolve a git conflict in the registry, take in other registries."""
    print_view(manager.merge(Registry(registry), files or []), as_json)


@app.command("analyze")
def analyze_command(
    out: Annotated[Path | None, typer.Option(help="Write a Markdown page there.")] = None,
    apply_fixes: Annotated[
        bool, typer.Option("--apply-fixes", help="Show its fixes and write them as pending.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --apply-fixes: do not ask.")] = False,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """What succeeded, what failed and why, what looks wrong, what to run next."""
    known = Registry(registry)
    print_view(analyze(known, fix=apply_fixes, yes=yes, out=out, as_json=as_json), as_json)
