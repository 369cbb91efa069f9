"""`latentwire runs`: the actions of `scripts/experiment_manager.py` as commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from telepathy.cli.experiment_manager import analyze
from telepathy.cli.options import JsonOption
from telepathy.experiments import manager
from telepathy.experiments.registry import DEFAULT_PATH, Registry
from telepathy.reporting.text import print_view

app = typer.Typer(
    no_args_is_help=True, help="Show the registered experiments and mark them for re-runs."
)
RegistryOption = Annotated[
    Path, typer.Option("--registry", help="Index file of the experiment registry.")
]


@app.command("status")
def show_status(registry: RegistryOption = DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Count the experiments in each state and list those that are running."""
    print_view(manager.status(Registry(registry)), as_json)


@app.command("list")
def list_experiments(
    state: Annotated[
        str,
        typer.Argument(help="State of the experiments, e.g. pending, running or failed; or all."),
    ] = "all",
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """List the experiments in one state."""
    print_view(manager.listing(Registry(registry), state), as_json)


@app.command("show")
def show_details(
    name: Annotated[str, typer.Argument(help="Name or key of the experiment.")],
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Show everything recorded about one experiment."""
    print_view(manager.details(Registry(registry), name), as_json)


@app.command("rerun")
def mark_for_rerun(
    name: Annotated[
        str | None,
        typer.Argument(help="Name or key of the experiment. By default all failed experiments."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Reason, kept in the record.")] = "",
    error_class: Annotated[
        str | None,
        typer.Option("--class", help="Only failed experiments with this error class, e.g. oom."),
    ] = None,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Mark one experiment, or all failed ones, for a re-run."""
    known = Registry(registry)
    marked = (
        manager.mark_rerun(known, name, reason)
        if name
        else manager.mark_rerun_failed(known, error_class)
    )
    print_view(marked, as_json)


@app.command("validate")
def validate_registry(registry: RegistryOption = DEFAULT_PATH, as_json: JsonOption = False) -> None:
    """Check that index, records and run folders agree; exit with 1 if they do not."""
    print_view(manager.validate(Registry(registry)), as_json)


@app.command("rebuild")
def rebuild_index(
    runs_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of the run folders. By default that of the index."),
    ] = None,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the index from the records in the run folders."""
    print_view(manager.rebuild(Registry(registry), runs_dir), as_json)


@app.command("merge")
def merge_registries(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Index files of other registries.")
    ] = None,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Resolve a git conflict in the index and add the records of other registries."""
    print_view(manager.merge(Registry(registry), files or []), as_json)


@app.command("analyze")
def analyze_experiments(
    out: Annotated[
        Path | None, typer.Option(help="Markdown file for the report. By default it is printed.")
    ] = None,
    apply_fixes: Annotated[
        bool,
        typer.Option("--apply-fixes", help="Register the proposed fixes as pending experiments."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --apply-fixes: do not ask for confirmation.")
    ] = False,
    registry: RegistryOption = DEFAULT_PATH,
    as_json: JsonOption = False,
) -> None:
    """Report results, causes of failures, suspicious runs and what to run next."""
    known = Registry(registry)
    print_view(analyze(known, fix=apply_fixes, yes=yes, out=out, as_json=as_json), as_json)
