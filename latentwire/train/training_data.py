"""Examples of the tasks that a bridge is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from latentwire.core.errors import UsageError
from latentwire.data import Example, Task
from latentwire.data.spec import SplitName
from latentwire.models import Receiver
from latentwire.models.state_cache import state_key
from latentwire.prompting.builder import PromptBuilder
from latentwire.train.batch import PromptedTask
from latentwire.train.config import TrainConfig
from latentwire.train.data_order import BatchPlan
from latentwire.train.sender_scores import SenderScores
from latentwire.wire.wire import Wire

_INITIALIZATION_TEXTS = 256


@dataclass(frozen=True)
class SplitData:
    """Examples of one split and the cache keys of their sender states, without texts.

    Args:
        examples: The examples; read from disk one by one if the whole split is used.
        keys: Key in the state cache of the text of each example.
        n_cut: Number of texts that were truncated to the sender's maximum length.
    """

    examples: Sequence[Example]
    keys: list[str]
    n_cut: int


@dataclass(frozen=True)
class TaskData:
    """Training and validation examples of one task.

    Args:
        prompted: The task and its prompt.
        train: Training examples.
        val: Validation examples.
    """

    prompted: PromptedTask
    train: SplitData
    val: SplitData

    def with_prompt(self, template: str) -> TaskData:
        """Return a copy with another prompt template."""
        return replace(self, prompted=self.prompted.with_prompt(template))

    @property
    def task(self) -> Task:
        return self.prompted.task


@dataclass(frozen=True)
class TrainingData:
    """Data of all tasks, before training.

    Args:
        tasks: Data of each task.
        texts: All texts whose sender states are needed: train before val, task by task.
        initialization_texts: Training texts to initialize the bridge with.
    """

    tasks: list[TaskData]
    texts: list[str]
    initialization_texts: list[str]


def load_training_data(wire: Wire, tasks: Sequence[Task], config: TrainConfig) -> TrainingData:
    """Load the data of all tasks.

    Raises: UsageError: If there is no task, or a task occurs twice.
    """
    names = [task.name for task in tasks]
    if not names or len({*names}) < len(names):
        raise UsageError(f"Give one or more different tasks to train on (given: {names}).")
    data = TrainingData([], [], [])
    for task in tasks:
        train, train_texts = _load_split(wire, task, "train", config.train_limit, config.seed)
        val, val_texts = _load_split(wire, task, "val", config.val_limit, config.seed)
        prompted = PromptedTask(
            task,
            wire.receiver,
            wire.prompt_builder(task),
            config.recompute,
            _sender_scores(wire, task),
        )
        data.tasks.append(TaskData(prompted, train, val))
        data.texts.extend([*train_texts, *val_texts])
        data.initialization_texts.extend(train_texts[: _INITIALIZATION_TEXTS // len(tasks)])
    return data


def plan_batches(data: Sequence[TaskData], config: TrainConfig, n_processes: int) -> BatchPlan:
    """Plan the batches of a training run."""
    return BatchPlan(
        [len(each.train.examples) for each in data],
        config.batch_size * n_processes,
        config.steps * config.grad_accum,
        config.seed,
        config.mixing,
    )


def label_words(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Distinct labels of all tasks; soft tokens are initialized with their embeddings."""
    return tuple(dict.fromkeys(label for task in tasks for label in task.labels))


def _sender_scores(wire: Wire, task: Task) -> SenderScores:
    """Scores by the sender, which reads the whole text in every task setting."""
    lm, spec = wire.sender.lm, wire.spec
    builder = PromptBuilder(task, lm, task.prompts[0], spec.max_tokens, spec.setting)
    return SenderScores(Receiver(lm), builder)


def _load_split(
    wire: Wire, task: Task, split: SplitName, limit: int | None, seed: int
) -> tuple[SplitData, list[str]]:
    examples = task.split(split) if limit is None else task.sample(split, limit, seed)
    if not examples:
        raise UsageError(
            f"Task '{task.name}' has no {split} examples. Add a {split} split to train on it."
        )
    texts, cut = wire.sender_texts(task, examples)
    return SplitData(examples, [state_key(text) for text in texts], sum(cut)), texts
