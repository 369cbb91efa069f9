"""`latentwire submit`: run a suite of experiments on this machine or on a SLURM cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from telepathy.cli.options import JsonOption
from telepathy.experiments.registry import DEFAULT_PATH, Registry
from telepathy.reporting.text import View, print_view


def _cluster_option(text: str, **limits: Any) -> Any:
    return typer.Option(help=text, rich_help_panel="Cluster", **limits)


def submit(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or a YAML file.")],
    scale: Annotated[
        str, typer.Option(help="Scale of the suite: full, or one that its file defines.")
    ] = "full",
    local: Annotated[
        bool, typer.Option("--local", help="Run the suite on this machine instead of a cluster.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of experiments that run at a time on one machine. By default one per "
            "GPU, or as many as cores and memory allow.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        _cluster_option(
            "Cluster profile: name of a file in profiles/, a YAML file, or none. By default the "
            "only one in profiles/."
        ),
    ] = None,
    account: Annotated[
        str | None, _cluster_option("Account that is charged. By default the profile's.")
    ] = None,
    partition: Annotated[
        str | None, _cluster_option("Partition of the jobs. By default the profile's.")
    ] = None,
    time: Annotated[
        str | None,
        _cluster_option("Time limit of one job, such as 12:00:00. By default the profile's."),
    ] = None,
    gpus: Annotated[
        int | None, _cluster_option("Number of GPUs of one job. By default the profile's.", min=0)
    ] = None,
    push: Annotated[
        bool, typer.Option("--push", help="Commit and push the results and the registry with git.")
    ] = False,
    registry: Annotated[
        Path, typer.Option("--registry", help="Index file of the registry.")
    ] = DEFAULT_PATH,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan without running anything.")
    ] = False,
    in_job: Annotated[bool, typer.Option("--in-job", hidden=True)] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the pending experiments of a suite.

    Completed experiments are skipped, interrupted ones are resumed. Jobs are submitted to the
    cluster of the profile; with --local the suite runs here. The exit code is 1 if an experiment
    failed and 75 if a signal stopped the run; the same command then resumes it.
    """
    from telepathy.experiments.schedulers import slurm
    from telepathy.experiments.schedulers.local import run_here
    from telepathy.experiments.suites import expand, load_suite
    from telepathy.experiments.suites.summary import plan

    loaded, known = load_suite(suite, scale), Registry(registry)
    experiments = expand(loaded, known.store.runs_dir)
    cluster = slurm.load_profile(slurm.NO_PROFILE if local else profile).changed(
        account=account, partition=partition, time=time, gpus=gpus
    )
    here = local or (in_job and slurm.fits(cluster))
    if here and not dry_run:
        print_view(run_here(loaded, experiments, known, jobs=jobs, push=push), as_json)
        return
    view = plan(loaded, experiments, known)
    if here or not view.data["n_due"]:
        print_view(view, as_json)
        return
    given = {"suite": suite, "scale": scale, "registry": registry, "jobs": jobs}
    arguments = [word for k, v in given.items() if v is not None for word in (f"--{k}", str(v))]
    # The job has the resources of the profile: it must not submit itself again.
    arguments += ["--profile", slurm.NO_PROFILE, *(["--push"] if push else [])]
    command = slurm.sbatch_command(cluster, view.data["n_due"], arguments)
    job = None if dry_run else slurm.submit(command)
    words = f"Command: {shlex.join(command)}" if dry_run else f"Submitted job {job}."
    data = {**view.data, "job": job, "sbatch": command}
    print_view(View(data, [*(view.lines if dry_run else view.lines[:1]), words]), as_json)
