"""Compare scoring choices in batches with scoring one choice at a time: numbers and speed.

    LATENTWIRE_DATA=<folder with arc_easy> python benchmarks/batched_scoring.py

Both score the same choices after the same tokenized prompts with the same frozen model. One at a
time means one forward pass over prompt and choice for each choice. Rounds alternate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from latentwire import load_task
from latentwire.core.provenance import describe_environment
from latentwire.data import Task
from latentwire.models import Receiver, load_model
from latentwire.prompting import scoring as answering
from latentwire.prompting.builder import PromptBuilder, Request
from latentwire.prompting.scoring import respond


def one_at_a_time(receiver: Receiver, requests: list[Request]) -> list[list[float]]:
    """Return the summed log-likelihood of each choice, with one forward pass per choice."""
    model, found = receiver.lm.model, []
    with torch.inference_mode():
        for request in requests:
            row = []
            for ids in request.answers:
                tokens = torch.tensor([[*request.prompt.before, *ids[:-1]]])
                logits = model(tokens, logits_to_keep=len(ids)).logits[0].log_softmax(-1)
                row.append(float(logits[range(len(ids)), list(ids)].sum()))
            found.append(row)
    return found


def batched(receiver: Receiver, task: Task, requests: list[Request]) -> list[list[float]]:
    """Return the same scores from the library, without cached prompt starts."""
    found = respond(Receiver(receiver.lm), task, [[request] for request in requests])
    return [list(response.scores) for response in found]


def main() -> None:
    """Measure both, and print times, speedup and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", default="arc_easy")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-tokens", type=int, help="tokens per pass (default: by device)")
    args = parser.parse_args()
    if args.batch_tokens:
        answering.tokens_per_pass = lambda device: args.batch_tokens  # type: ignore[assignment]
    task, receiver = load_task(args.task), Receiver(load_model(args.model))
    builder = PromptBuilder(task, receiver.lm, task.prompts[0])
    examples = task.sample("test", args.items, 0)
    requests = [builder.build(example)[0] for example in examples]
    one_at_a_time(receiver, requests[:2]), batched(receiver, task, requests[:2])
    times: dict[str, list[float]] = {"one_at_a_time": [], "batched": []}
    for turn in range(args.rounds):
        for name in list(times)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            if name == "batched":
                together = batched(receiver, task, requests)
            else:
                alone = one_at_a_time(receiver, requests)
            times[name].append(time.perf_counter() - started)
    ratios = [a / b for a, b in zip(times["one_at_a_time"], times["batched"])]
    pairs = [(x, y) for a, b in zip(alone, together) for x, y in zip(a, b)]
    best = [max(range(len(row)), key=row.__getitem__) for row in alone]
    same = [b == max(range(len(row)), key=row.__getitem__) for b, row in zip(best, together)]
    found = {
        "task": args.task,
        "model": args.model,
        "items": len(examples),
        "choices": len(pairs),
        "prompt_tokens_median": statistics.median(len(r.prompt.before) for r in requests),
        "seconds_median": {name: statistics.median(values) for name, values in times.items()},
        "speedup_median": statistics.median(ratios),
        "speedup_by_round": ratios,
        "max_difference_nats": max(abs(x - y) for x, y in pairs),
        "same_choice": sum(same) / len(same),
        "environment": describe_environment(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
