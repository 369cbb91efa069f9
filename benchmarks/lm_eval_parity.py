"""Compare the log-likelihoods of LatentWire with those of lm-evaluation-harness.

Both score the choices of six tasks with one model in plain text, on the same random items. Each
uses its own task files, on local JSON files with the same rows.

    pip install -e '.[parity]'
    LATENTWIRE_DATA=<folder with the data sets> python benchmarks/lm_eval_parity.py

The official files of piqa need a script on the hub. Without them, its items are built from those of
HellaSwag: text, right ending and one wrong ending.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from latentwire import load_task
from latentwire.core.provenance import describe_environment
from latentwire.data import Example, Task
from latentwire.data.metrics import choose
from latentwire.models import LanguageModel, Receiver, load_model
from latentwire.prompting.builder import PromptBuilder
from latentwire.prompting.scoring import respond

MODEL = "smollm2-135m-instruct"
Row = dict[str, Any]
_MAX_TOKENS = 1800  # no item is longer, so none is cut, as in the harness


@dataclass(frozen=True)
class Agreement:
    """Agreement of LatentWire and the harness on one task.

    Args:
        task: Task name.
        n: Number of items.
        same_acc: Share of items with the same choice by summed log-likelihood.
        same_acc_norm: Share of items that are right or wrong in both by the score per byte
            (LatentWire) and per character (harness); None if the harness does not report it.
        max_difference: Largest difference of one choice's summed log-likelihood, in nats.
        acc_here: Accuracy by LatentWire.
        acc_there: Accuracy by the harness.
        seconds_here: Time to score all items with LatentWire.
        seconds_there: Time to score all items with the harness.
    """

    task: str
    n: int
    same_acc: float
    same_acc_norm: float | None
    max_difference: float
    acc_here: float
    acc_there: float
    seconds_here: float
    seconds_there: float


def _sst2(row: Row) -> Row:
    return {**row, "sentence": row["sentence"].strip()}  # rows of the hub end with a space


def _boolq(row: Row) -> Row:
    return {**row, "label": int(row["answer"]), "passage": row["passage"].strip()}


def _hellaswag(row: Row) -> Row:
    # Some copies of the data have only the joined text; the harness needs its two parts.
    return row if row["ctx_a"] is not None else {**row, "ctx_a": row["ctx"], "ctx_b": ""}


# Task -> split, task file of the harness, conversion of a row for the harness.
TASKS: dict[str, tuple[str, str, Callable[[Row], Row]]] = {
    "arc_easy": ("test", "arc/arc_easy.yaml", dict),
    "hellaswag": ("validation", "hellaswag/hellaswag.yaml", _hellaswag),
    "winogrande": ("validation", "winogrande/default.yaml", dict),
    "boolq": ("validation", "super_glue/boolq/default.yaml", _boolq),
    "piqa": ("validation", "piqa/piqa.yaml", dict),
    "sst2": ("validation", "glue/sst2/default.yaml", _sst2),
}


def main() -> None:
    """Score, compare and print a table; exit with 1 if a threshold is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    source = os.environ.get("LATENTWIRE_DATA")
    if not source:
        sys.exit("Set LATENTWIRE_DATA to a folder with the data sets.")
    if find_spec("lm_eval") is None:
        sys.exit("The harness is not installed: pip install -e '.[parity]'")
    lm = load_model(MODEL).without_chat()
    with tempfile.TemporaryDirectory() as folder:
        found = [
            compare(name, lm, Path(source), Path(folder), args.items, args.seed)
            for name in args.tasks
        ]
    environment = describe_environment()
    if args.json:
        rows = [asdict(row) for row in found]
        print(json.dumps({"model": MODEL, "tasks": rows, "environment": environment}, indent=2))
    else:
        show(found)
    missed = [a.task for a in found if a.same_acc < 0.99 or a.max_difference > 1e-2]
    sys.exit(f"Threshold missed: {', '.join(missed)}" if missed else 0)


def compare(
    name: str, lm: LanguageModel, source: Path, folder: Path, n_items: int, seed: int
) -> Agreement:
    """Score the same items of one task with LatentWire and the harness."""
    split, harness_file, convert = TASKS[name]
    rows = sampled_rows(name, split, source, n_items, seed)
    write_rows(folder / "here" / name / f"{split}.jsonl", rows)
    os.environ["LATENTWIRE_DATA"] = str(folder / "here")
    task = load_task(name)
    examples = list(task.split("test"))
    if len(examples) != len(rows):
        sys.exit(f"{name}: {len(rows)} rows became {len(examples)} examples.")
    here, seconds_here = score_here(task, lm, examples)
    there_file = folder / "there" / f"{name}.jsonl"
    write_rows(there_file, [convert(row) for row in rows])
    there, seconds_there = score_there(name, lm, harness_file, there_file, folder / "there")
    worst, same, same_norm, right_here, right_there = 0.0, 0, 0, 0, 0
    for example, (scores, values), (harness_scores, harness_values) in zip(examples, here, there):
        assert len(scores) == len(harness_scores), example.id
        worst = max(worst, *(abs(a - b) for a, b in zip(scores, harness_scores)))
        best = max(range(len(scores)), key=scores.__getitem__)
        same += best == max(range(len(scores)), key=harness_scores.__getitem__)
        same_norm += values["acc_norm"] == harness_values.get("acc_norm")
        right_here += int(values["acc"])
        right_there += int(harness_values["acc"])
    n = len(examples)
    return Agreement(
        task=name,
        n=n,
        same_acc=same / n,
        same_acc_norm=same_norm / n if "acc_norm" in there[0][1] else None,
        max_difference=worst,
        acc_here=right_here / n,
        acc_there=right_there / n,
        seconds_here=seconds_here,
        seconds_there=seconds_there,
    )


def score_here(
    task: Task, lm: LanguageModel, examples: list[Example]
) -> tuple[list[tuple[tuple[float, ...], dict[str, float]]], float]:
    """Return choice scores and metric values of each example, and the seconds it took."""
    builder = PromptBuilder(task, lm, task.harness_prompt, _MAX_TOKENS)
    requests = [builder.build(example) for example in examples]
    started = time.perf_counter()
    responses = respond(Receiver(lm), task, requests)
    seconds = time.perf_counter() - started
    return [(r.scores, choose(task, e, r)[1]) for e, r in zip(examples, responses)], seconds


def score_there(
    name: str, lm: LanguageModel, harness_file: str, data: Path, folder: Path
) -> tuple[list[tuple[tuple[float, ...], dict[str, float]]], float]:
    """Return the same from lm-evaluation-harness, in the order of the file."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    config = {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / harness_file),
        "task": f"local_{name}",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"validation": str(data)}},
        "training_split": None,
        "validation_split": "validation",
        "test_split": None,
        "tag": None,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    started = time.perf_counter()
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=16),
        tasks=[f"local_{name}"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    seconds = time.perf_counter() - started
    samples = sorted(found["samples"][f"local_{name}"], key=lambda s: s["doc_id"])
    scored = [
        (
            tuple(float(answer[0]) for answer in sample["filtered_resps"]),
            {key: float(sample[key]) for key in ("acc", "acc_norm") if key in sample},
        )
        for sample in samples
    ]
    return scored, seconds


def sampled_rows(name: str, split: str, source: Path, n_items: int, seed: int) -> list[Row]:
    """Return a random sample of rows; rows of piqa are built if it has no file."""
    path = source / name / f"{split}.jsonl"
    made = name == "piqa" and not path.is_file()
    if made:
        path = source / "hellaswag" / f"{split}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    draw = random.Random(seed)
    chosen = draw.sample(rows, n_items)
    return [_piqa_row(row, draw) for row in chosen] if made else chosen


def _piqa_row(row: Row, draw: random.Random) -> Row:
    right = int(row["label"])
    wrong = draw.choice([i for i in range(len(row["endings"])) if i != right])
    label = draw.randrange(2)
    pair = [row["endings"][wrong], row["endings"][wrong]]
    pair[label] = row["endings"][right]
    sol1, sol2 = (text.strip() for text in pair)
    return {"goal": row["ctx"].strip(), "sol1": sol1, "sol2": sol2, "label": label}


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def show(found: list[Agreement]) -> None:
    """Print the results as a Markdown table."""
    print(f"{MODEL}, plain text, lm-eval {version('lm-eval')}\n")
    print("| task | n | same choice, acc | acc_norm | max. difference, nats | acc here | there |")
    print("|---|---|---|---|---|---|---|")
    for a in found:
        norm = "" if a.same_acc_norm is None else f"{100 * a.same_acc_norm:.1f} %"
        print(
            f"| {a.task} | {a.n} | {100 * a.same_acc:.1f} % | {norm} "
            f"| {a.max_difference:.1e} | {a.acc_here:.3f} | {a.acc_there:.3f} |"
        )
    ratio = sum(a.seconds_there for a in found) / sum(a.seconds_here for a in found)
    print(f"\nThe harness took {ratio:.1f} times as long (batch 16; 32 here).")


if __name__ == "__main__":
    main()
