"""`latentwire submit`: a suite of experiments, on this machine or on a SLURM cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from telepathy.cli.options import JsonOption
from telepathy.experiments.registry import DEFAULT_PATH, Registry
from telepathy.reporting.text import View, print_view

NONE = "none"  # of telepathy.experiments.suites.profile, which takes longer to import


def submit(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or a YAML file.")],
    scale: Annotated[str, typer.Option(help="full, or one of the suite's own.")] = "full",
    local: Annotated[bool, typer.Option("--local", help="Run it here.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Experiments at a time; default: as many as fit.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Cluster's profile: name in profiles/, YAML file, or none."),
    ] = None,
    account: Annotated[str | None, typer.Option(help="In place of the profile's.")] = None,
    partition: Annotated[str | None, typer.Option(help="The same.")] = None,
    time: Annotated[str | None, typer.Option(help="The same: limit of a job.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="The same: GPUs of a job.")] = None,
    push: Annotated[
        bool, typer.Option("--push", help="Commit results and registry, and push them.")
    ] = False,
    registry: Annotated[Path, typer.Option("--registry", help="The registry's index.")] = (
        DEFAULT_PATH
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run.")] = False,
    in_job: Annotated[bool, typer.Option("--in-job", hidden=True)] = False,
    as_json: JsonOption = False,
) -> None:
    """Run what is due of a suite: what is done is skipped, what was stopped goes on.

    On a cluster jobs are submitted under the profile; with --local it runs here. Exit code 1 if an
    experiment failed, 75 if the run was asked to stop: the same command goes on.
    """
    from telepathy.experiments.suites.expansion import expand
    from telepathy.experiments.suites.loading import load_suite
    from telepathy.experiments.suites.local import run_here
    from telepathy.experiments.suites.profile import load_profile
    from telepathy.experiments.suites.slurm import fits, sbatch_command
    from telepathy.experiments.suites.slurm import submit as hand_over
    from telepathy.experiments.suites.summary import plan

    loaded, known = load_suite(suite, scale), Registry(registry)
    experiments = expand(loaded, known.store.runs_dir)
    cluster = load_profile(NONE if local else profile).changed(
        account=account, partition=partition, time=time, gpus=gpus
    )
    here = local or (in_job and fits(cluster))
    if here and not dry_run:
        print_view(run_here(loaded, experiments, known, jobs=jobs, push=push), as_json)
        return
    view = plan(loaded, experiments, known)
    if here or not view.data["n_due"]:
        print_view(view, as_json)
        return
    given = {"suite": suite, "scale": scale, "registry": registry, "jobs": jobs}
    arguments = [word for k, v in given.items() if v is not None for word in (f"--{k}", str(v))]
    # The job is as it should be: there it is not to be handed on again.
    arguments += ["--profile", NONE, *(["--push"] if push else [])]
    command = sbatch_command(cluster, view.data["n_due"], arguments)
    job = None if dry_run else hand_over(command)
    words = f"Would call: {shlex.join(command)}" if dry_run else f"Submitted job {job}."
    data = {**view.data, "job": job, "sbatch": command}
    print_view(View(data, [*(view.lines if dry_run else view.lines[:1]), words]), as_json)
