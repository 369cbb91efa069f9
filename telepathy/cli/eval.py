"""`latentwire eval`: a bridge, controls and baselines on one split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from latentwire.core.errors import UsageError
from latentwire.core.progress import default_progress
from telepathy.cli.options import (
    CodecOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    LimitOption,
    PairOption,
    ReceiverOption,
    SenderOption,
    SenderPromptOption,
    SettingOption,
)
from telepathy.reporting.results import show_results


def evaluate(
    run: Annotated[Path | None, typer.Option("--run", help="Folder of a trained run.")] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Only this method; repeatable.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Task; the run's own by default.")
    ] = None,
    pair: PairOption = None,
    sender: SenderOption = None,
    receiver: ReceiverOption = None,
    sender_prompt: SenderPromptOption = "raw",
    setting: SettingOption = None,
    codec: CodecOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    limit: LimitOption = None,
    relay_limit: Annotated[
        int | None, typer.Option(min=1, help="The same for the text relay only.")
    ] = None,
    prompt_val_limit: Annotated[
        int, typer.Option(min=1, help="Val examples on which prompts are chosen.")
    ] = 64,
    controls: Annotated[bool, typer.Option(help="Run the controls too.")] = True,
    timed: Annotated[int, typer.Option(min=0, help="Examples to time; 0: none.")] = 8,
    seed: Annotated[int, typer.Option(help="Of samples and controls.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where results are written; a whole evaluation: the run."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Evaluate a bridge beside controls and baselines, or baselines alone, on a whole split."""
    import latentwire
    from latentwire import Wire, load_task
    from latentwire.eval.context import no_bridge
    from latentwire.eval.method import METHODS
    from latentwire.models.loading import load_pair
    from latentwire.wire.codecs import CODECS

    for name in method or []:
        if METHODS.get(name).needs_wire and run is None:
            raise no_bridge(f"Method '{name}'")
    if codec is not None:
        CODECS.get(codec)
    if codec is not None and run is None:
        raise no_bridge("A codec")
    if run is None and task is None:
        raise UsageError("Give --run (a trained run) or --task and --method (baselines alone).")
    loaded = load_task(task) if task else None
    progress = default_progress()
    if run is not None:
        if pair or sender_prompt != "raw":
            raise UsageError(
                "--pair and --sender-prompt go without --run: a run knows its pair and how its "
                "sender is asked."
            )
        wire: Any = Wire.from_pretrained(
            run, sender=sender, receiver=receiver, device=device, dtype=dtype, progress=progress
        )
        loaded = loaded or wire.task
        if loaded is None:
            raise UsageError(f"The bridge in {run} was never trained on a task: give --task.")
    else:
        wire = load_pair(sender, receiver, pair=pair, device=device, dtype=dtype, progress=progress)
    assert loaded is not None
    partial = bool(method or limit or task or codec or not controls or split != "test")
    results = latentwire.evaluate(
        wire,
        loaded,
        methods=method,
        setting=setting,  # type: ignore[arg-type]
        sender_prompt=sender_prompt,
        codec=codec,
        controls=controls,
        split=split,  # type: ignore[arg-type]
        limit=limit,
        relay_limit=relay_limit,
        prompt_val_limit=prompt_val_limit,
        timed=timed,
        seed=seed,
        # A partial evaluation does not replace the whole one that the run folder may hold.
        out_dir=out or (None if partial else run),
        progress=progress,
    )
    show_results(results.to_json(), as_json)
