"""Validation on val examples, and comparison of validations."""

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
    learner: Learner, data: Sequence[TaskData], processes: Processes, stop: Callable[[], bool]
) -> dict[str, float] | None:
    """Compute validation metrics: `loss` in nats and, for tasks with choices, `accuracy` in 0..1.

    The loss is the negative log-likelihood of the right choice among the choices, or of the right
    answer per token. With several tasks, the metrics of each (`<task>.loss`) are returned along
    with their mean, which `is_better` compares. If no objective trains the answer, `objective` is
    the training loss, and `is_better` compares that.

    Args:
        learner: Runs the module, which is in evaluation mode afterwards.
        data: Data of each task.
        processes: The processes that share the examples.
        stop: Checked between batches; if True, validation stops and returns None. Ignored with
            several processes, because the others would wait forever.
    """
    learner.module.eval()
    learner.loss.eval()
    found = []
    for each in data:
        sums = _sums(learner, each, processes, stop if processes.world == 1 else lambda: False)
        if sums is None:
            return None
        n = len(each.val.examples)
        means = dict(zip(sums, (s / n for s in processes.sum_over_indices(list(sums.values())))))
        found.append(means)
    if len(found) == 1:
        return found[0]
    keys = list(dict.fromkeys(key for means in found for key in means))
    shares = {key: [means[key] for means in found if key in means] for key in keys}
    whole = {key: sum(values) / len(values) for key, values in shares.items()}
    named = {f"{d.task.name}.{k}": v for d, means in zip(data, found) for k, v in means.items()}
    return {**whole, **named}


def is_better(found: dict[str, float], best: dict[str, float]) -> bool:
    """Whether a validation is better: by accuracy, then loss, or by the objective alone."""

    def key(values: dict[str, float]) -> tuple[float, float]:
        if "objective" in values:
            return 0.0, -values["objective"]
        return values.get("accuracy", 0.0), -values["loss"]

    return key(found) > key(best)


def _sums(
    learner: Learner, data: TaskData, processes: Processes, stop: Callable[[], bool]
) -> dict[str, float] | None:
    """Sums of the metrics over the val examples of this process; None if stopped."""
    val = data.val
    has_choices = bool(val.examples[0].choices)
    sums = {"accuracy": 0.0} if has_choices else {}
    sums["loss"] = 0.0
    mine = processes.indices(len(val.examples))
    for start in range(0, len(mine), _VAL_BATCH):
        if stop():
            return None
        index = mine[start : start + _VAL_BATCH]
        if not learner.loss.trains_answer:
            value = float(learner(data, val, index)[0]) * len(index)
            sums["objective"] = sums.get("objective", 0.0) + value
        if not has_choices:
            sums["loss"] += float(learner.answer_nll(data, index)) * len(index)
            continue
        for i, response in zip(index, learner.respond(data, index)):
            example = val.examples[i]
            sums["loss"] -= float(torch.tensor(response.scores).log_softmax(-1)[example.target])
            sums["accuracy"] += choose(data.task, example, response)[0] == example.target
    if not learner.loss.trains_answer:
        sums.setdefault("objective", 0.0)  # this process may have no examples
    return sums
