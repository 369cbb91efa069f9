"""The `latentwire` command: results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import inspect
from typing import Any

import typer
from typer.core import TyperGroup

from latentwire.core.errors import InterruptedRunError
from telepathy.cli.baselines import baselines
from telepathy.cli.bench import app as bench
from telepathy.cli.bridges import bridges
from telepathy.cli.demo import demo
from telepathy.cli.doctor import doctor
from telepathy.cli.errors import INTERRUPTED, run_guarded
from telepathy.cli.eval import evaluate
from telepathy.cli.runs import app as runs
from telepathy.cli.submit import submit
from telepathy.cli.tasks import app as tasks
from telepathy.cli.train import train

# Command groups of `latentwire --help`, in this order: command -> function or sub-commands.
GROUPS: dict[str, dict[str, Any]] = {
    "Start here": {"demo": demo, "doctor": doctor},
    "Train and evaluate": {
        "train": train,
        "eval": evaluate,
        "baselines": baselines,
        "bench": bench,
    },
    "Look things up": {"tasks": tasks, "bridges": bridges},
    "Run many experiments": {"submit": submit, "runs": runs},
}


class _Commands(TyperGroup):
    """Lists commands in the order of `GROUPS`; Ctrl-C ends with advice on how to continue."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for commands in GROUPS.values() for name in commands]

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:  # typer itself would print nothing
            raise InterruptedRunError(INTERRUPTED) from interrupt


def unwrapped(text: str) -> str:
    """Join the lines of each paragraph of a docstring, so that the terminal can wrap them."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _build_app() -> typer.Typer:
    app = typer.Typer(
        cls=_Commands,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="One language model hands what it has read to another without writing text.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped by SIGTERM or SIGUSR1 and "
        "saved, 130 stopped by Ctrl-C.",
    )
    for title, commands in GROUPS.items():
        for name, command in commands.items():
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name, rich_help_panel=title)
            else:
                app.command(name, rich_help_panel=title, help=unwrapped(command.__doc__))(command)
    return app


app = _build_app()


def main() -> None:
    """Entry point."""
    run_guarded(app)


if __name__ == "__main__":
    main()
