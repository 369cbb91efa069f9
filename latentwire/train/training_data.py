"""The examples of the tasks that one bridge is trained on, and how they meet the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from latentwire.core.errors import UsageError
from latentwire.data import Example, Task
from latentwire.data.spec import SplitName
from latentwire.models import Receiver
from latentwire.models.state_cache import state_key
from latentwire.prompting.builder import PromptBuilder
from latentwire.train.batch import Reading
from latentwire.train.config import TrainConfig
from latentwire.train.data_order import BatchPlan
from latentwire.train.sender_answers import SenderAnswers
from latentwire.wire.wire import Wire

_CALIBRATION_TEXTS = 256


@dataclass(frozen=True)
class Part:
    """Examples of one split and the keys of their sender states. Texts are not kept in memory.

    Args:
        examples: Read from disk one by one where all of a split is used.
        keys: What the state cache calls the text that the sender reads, for each example.
        n_cut: How many texts were longer than the sender reads.
    """

    examples: Sequence[Example]
    keys: list[str]
    n_cut: int


@dataclass(frozen=True)
class TaskData:
    """What is learned from one task.

    Args:
        reading: How the receiver is asked.
        train: Examples that are learned.
        val: Examples that choose the step.
    """

    reading: Reading
    train: Part
    val: Part

    def with_prompt(self, template: str) -> TaskData:
        """The same with other words around the soft tokens."""
        return replace(self, reading=self.reading.with_prompt(template))

    @property
    def task(self) -> Task:
        """The task."""
        return self.reading.task


def read_tasks(
    wire: Wire, tasks: Sequence[Task], config: TrainConfig
) -> tuple[list[TaskData], list[str], list[str]]:
    """The data of all tasks.

    Returns: The tasks' data, all texts whose states are needed (train before val, task by task),
        and the texts to calibrate the bridge on.
    Raises: UsageError: If there is no task, or one is there twice.
    """
    names = [task.name for task in tasks]
    if not names or len({*names}) < len(names):
        raise UsageError(f"Train on one or more different tasks, not on {names}.")
    data, texts, some = [], [], []
    for task in tasks:
        train, train_texts = _part(wire, task, "train", config.train_limit, config.seed)
        val, val_texts = _part(wire, task, "val", config.val_limit, config.seed)
        builder = wire.prompt_builder(task)
        reading = Reading(
            task, wire.receiver, builder, config.recompute, _sender_answers(wire, task)
        )
        data.append(TaskData(reading, train, val))
        texts += [*train_texts, *val_texts]
        some += train_texts[: _CALIBRATION_TEXTS // len(tasks)]
    return data, texts, some


def plan_batches(data: Sequence[TaskData], config: TrainConfig, n_processes: int) -> BatchPlan:
    """Which examples every batch of a training holds."""
    return BatchPlan(
        [len(each.train.examples) for each in data],
        config.batch_size * n_processes,
        config.steps * config.grad_accum,
        config.seed,
        config.mixing,
    )


def first_words(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Label words of all tasks, each once: soft tokens start from their embeddings."""
    return tuple(dict.fromkeys(label for task in tasks for label in task.labels))


def _sender_answers(wire: Wire, task: Task) -> SenderAnswers:
    """The sender as one that answers: in every setting it reads all of the item."""
    lm, spec = wire.sender.lm, wire.spec
    builder = PromptBuilder(task, lm, task.prompts[0], spec.max_tokens, spec.setting)
    return SenderAnswers(Receiver(lm), builder)


def _part(
    wire: Wire, task: Task, split: SplitName, limit: int | None, seed: int
) -> tuple[Part, list[str]]:
    examples = task.split(split) if limit is None else task.sample(split, limit, seed)
    if not examples:
        raise UsageError(f"Task '{task.name}' has no {split} examples: nothing to train on.")
    texts, cut = wire.sender_texts(task, examples)
    return Part(examples, [state_key(text) for text in texts], sum(cut)), texts
