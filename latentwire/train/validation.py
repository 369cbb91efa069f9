"""What val says about a bridge, and which of two validations is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from latentwire.data.metrics import choose
from latentwire.train.learner import Learner
from latentwire.train.processes import Processes
from latentwire.train.training_data import TaskData

_VAL_BATCH = 32


@torch.no_grad()
def validate(
    forward: Learner, data: Sequence[TaskData], processes: Processes, stop: Callable[[], bool]
) -> dict[str, float] | None:
    """Mean loss in nats (among the choices, where there are choices) and accuracy.

    Several tasks are given one by one (`<task>.loss`) and as their mean, which decides. Where no
    objective trains the answer, `objective` is the loss that is trained, and decides.

    Args:
        forward: Its module may be in any mode; it is in evaluation mode afterwards.
        data: The tasks.
        processes: Share the examples.
        stop: Asked between batches; True ends the validation, which then has no result. Several
            processes cannot stop in the middle, since each would wait for the others.
    """
    forward.module.eval()
    forward.loss.eval()
    found = []
    for each in data:
        sums = _sums(forward, each, processes, stop if processes.world == 1 else lambda: False)
        if sums is None:
            return None
        n = len(each.val.examples)
        means = dict(zip(sums, (s / n for s in processes.sum_of_parts(list(sums.values())))))
        found.append(means)
    if len(found) == 1:
        return found[0]
    keys = list(dict.fromkeys(key for means in found for key in means))
    shares = {key: [means[key] for means in found if key in means] for key in keys}
    whole = {key: sum(values) / len(values) for key, values in shares.items()}
    named = {f"{d.task.name}.{k}": v for d, means in zip(data, found) for k, v in means.items()}
    return {**whole, **named}


def is_better(found: dict[str, float], best: dict[str, float]) -> bool:
    """Whether a validation beats the best one: by accuracy, then loss; or by the objective."""

    def key(values: dict[str, float]) -> tuple[float, float]:
        if "objective" in values:
            return 0.0, -values["objective"]
        return values.get("accuracy", 0.0), -values["loss"]

    return key(found) > key(best)


def _sums(
    forward: Learner, data: TaskData, processes: Processes, stop: Callable[[], bool]
) -> dict[str, float] | None:
    """Sums over this process's share of the val examples; None if it was stopped."""
    part = data.val
    has_choices = bool(part.examples[0].choices)
    sums = {"accuracy": 0.0} if has_choices else {}
    sums["loss"] = 0.0
    mine = processes.part(len(part.examples))
    for start in range(0, len(mine), _VAL_BATCH):
        if stop():
            return None
        index = mine[start : start + _VAL_BATCH]
        if not forward.loss.asks_for_the_answer:
            value = float(forward(data, part, index)[0]) * len(index)
            sums["objective"] = sums.get("objective", 0.0) + value
        if not has_choices:
            sums["loss"] += float(forward.answer_nll(data, index)) * len(index)
            continue
        for i, response in zip(index, forward.respond(data, index)):
            example = part.examples[i]
            sums["loss"] -= float(torch.tensor(response.scores).log_softmax(-1)[example.target])
            sums["accuracy"] += choose(data.task, example, response)[0] == example.target
    if not forward.loss.asks_for_the_answer:
        sums.setdefault("objective", 0.0)  # a process without examples adds nothing
    return sums
