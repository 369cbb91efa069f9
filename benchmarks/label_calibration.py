"""Measure what label calibration gains for models that read the text, on held-out val examples.

    python benchmarks/label_calibration.py --task ag_news --prompt '{context}\\nCategory:'
        [--models receiver,sender] [--max-tokens 64] [--divisions 400]

Asks every zero-shot prompt, and one few-shot prompt with 1, 2, 4 .. examples per label, in plain
text about all val examples. Reports the accuracy of each prompt without calibration and calibrated
on all of val, and the accuracy on the rest of val if the prompt is chosen on a part. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from latentwire import TrainConfig, load_task
from latentwire.core.progress import default_progress
from latentwire.core.provenance import describe_environment
from latentwire.data import Example, Task
from latentwire.eval.context import Context
from latentwire.eval.method import Prediction
from latentwire.methods.label_calibration import calibrate, estimate_log_prior, score_on_val
from latentwire.methods.prompt_choice import (
    PLAIN,
    PromptChoice,
    ReaderPrompt,
    ValScore,
    mean_value,
)
from latentwire.methods.zeroshot import ZeroShot
from latentwire.models import Receiver, Sender
from latentwire.models.loading import load_pair
from latentwire.models.sender import default_layer
from telepathy.cli.errors import run_guarded

Tried = dict[ReaderPrompt, list[Prediction]]


def main() -> None:
    """Answer and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="ag_news")
    parser.add_argument(
        "--prompt", default="{context}\nCategory:", help="template of the few-shot prompt"
    )
    parser.add_argument("--models", default="receiver,sender")
    parser.add_argument("--train-limit", type=int, default=3000)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--divisions", type=int, default=400)
    given = parser.parse_args()
    prompt = given.prompt.replace("\\n", "\n")

    task, lms = load_task(given.task), load_pair(None, None)
    context = Context(
        task,
        Sender(lms[0]),
        Receiver(lms[1]),
        layers=(default_layer(lms[0].n_layers),),
        max_tokens=given.max_tokens,
        budget=TrainConfig(train_limit=given.train_limit),
        prompt_val_limit=2,  # the choice is made here, not by the methods
    )
    val = task.sample("val", len(task.split("val")), 0)
    found: dict[str, Any] = {"environment": describe_environment(), "val": len(val)}
    for name in (
        f"{kind}_{m}" for m in given.models.split(",") for kind in ("zeroshot", "fewshot")
    ):
        tried = answers(context, name, val, prompt)
        found[name] = {
            "prompts": [
                {
                    **asked.to_json(),
                    "plain": mean_value(said),
                    "calibrated": mean_value(calibrate(task, val, said, estimate_log_prior(said))),
                }
                for asked, said in tried.items()
            ],
            "held_out": [held_out(task, val, tried, n, given.divisions) for n in (32, 64)],
        }
    print(json.dumps(found, indent=2))


def answers(context: Context, name: str, val: Sequence[Example], prompt: str) -> Tried:
    """Return uncalibrated answers to val for all zero-shot prompts and one few-shot prompt."""
    progress = default_progress()
    method = context.methods.prepared(name, progress)
    assert isinstance(method, ZeroShot)
    tried: Tried = {}
    for asked in method.candidates():
        if asked.form == PLAIN and (not asked.shots or asked.template == prompt):
            builder = method.prompt_builder(asked)
            requests = [builder.build(example) for example in val]
            tried[asked] = context.answer(
                method.readers[PLAIN], val, requests, progress, f"{name} {asked.shots}"
            )
    return tried


def held_out(
    task: Task, val: Sequence[Example], tried: Tried, n: int, divisions: int
) -> dict[str, Any]:
    """Return the accuracy on the rest of val if the best prompt is chosen on `n` examples."""
    draw = np.random.RandomState(0)
    scores: dict[str, list[float]] = {"plain": [], "calibrated": []}
    for _ in range(divisions):
        order = draw.permutation(len(val))
        known, rest = order[:n], order[n:]
        on_val = {
            asked: score_on_val(
                task, [val[i] for i in known], [said[i] for i in known], asked.template
            )
            for asked, said in tried.items()
        }
        plain = {asked: ValScore(each.plain, each.plain) for asked, each in on_val.items()}
        for kind, options in (("plain", plain), ("calibrated", on_val)):
            choice = PromptChoice.best(options)
            left = [tried[choice.prompt][i] for i in rest]
            said = calibrate(task, [val[i] for i in rest], left, choice.log_prior)
            scores[kind].append(mean_value(said))
    stats = {
        kind: {"mean": float(np.mean(s)), "sd": float(np.std(s))} for kind, s in scores.items()
    }
    return {"chosen_on": n, **stats}


if __name__ == "__main__":
    run_guarded(main)
