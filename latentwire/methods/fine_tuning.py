"""Fine-tuning of a model that reads the text itself, with the training loop of the bridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentwire.core.progress import Progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.data.spec import SplitName
from latentwire.losses import token_mean
from latentwire.models import Prompt, Receiver
from latentwire.models.adapters import Adapters
from latentwire.objectives import Loss, Space
from latentwire.prompting.builder import PromptBuilder, Request
from latentwire.prompting.scoring import respond
from latentwire.train import TrainConfig
from latentwire.train.batch import PromptedTask
from latentwire.train.checkpoints import TrainState
from latentwire.train.processes import Processes
from latentwire.train.signals import catch_signals
from latentwire.train.trainer import Trainer
from latentwire.train.training_data import SplitData, TaskData


@dataclass(frozen=True)
class _TextBatch:
    """Inputs of the answer objective for one batch."""

    answer_nll: Float[Tensor, "b a"]
    targets: Int[Tensor, "b a"]


class TextLearner:
    """Learner of a model that reads the text, with a loss on the answer only.

    Args:
        reader: Model that reads the text.
        module: Its adapters, which are trained.
        loss: Cross-entropy of the answer.
    """

    def __init__(self, reader: Receiver, module: Adapters, loss: Loss) -> None:
        self.reader, self.module, self.loss = reader, module, loss

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.reader.lm.device

    def __call__(
        self, data: TaskData, split: SplitData, index: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of examples and its terms."""
        return self.loss(self._batch(data, split, index))  # type: ignore[no-any-return]

    def respond(self, data: TaskData, index: Sequence[int]) -> list[Response]:
        """Return the model's responses to val examples."""
        requests = whole_requests(data.prompted.builder, [data.val.examples[i] for i in index])
        with self.module.merged():
            return respond(self.reader, data.task, requests, ranking_only=True)

    def answer_nll(self, data: TaskData, index: Sequence[int]) -> Float[Tensor, ""]:
        """Return the mean negative log-likelihood of right answers on val, in nats per token."""
        batch = self._batch(data, data.val, index)
        return token_mean(batch.answer_nll, batch.targets)

    def _batch(self, data: TaskData, split: SplitData, index: Sequence[int]) -> _TextBatch:
        builder, task = data.prompted.builder, data.task
        examples = [split.examples[i] for i in index]
        prompts = [_whole(builder.build(example)[0].prompt) for example in examples]
        answers = [builder.right_answer(p, e) for p, e in zip(prompts, examples)]
        if task.max_new_tokens:
            answers = [ids[: task.max_new_tokens] for ids in answers]
        hidden, targets = self.reader.answer_hidden(prompts, answers, None)
        return _TextBatch(self.reader.answer_nll(hidden, targets), targets)


def whole_requests(builder: PromptBuilder, examples: Sequence[Example]) -> list[list[Request]]:
    """Build requests without a static part, since its cached states lack the adapters."""
    return [[replace(r, prompt=_whole(r.prompt)) for r in builder.build(e)] for e in examples]


def train_reader(
    reader: Receiver,
    module: Adapters,
    builder: PromptBuilder,
    config: TrainConfig,
    run: RunFolder,
    name: str,
    progress: Progress,
) -> TrainState:
    """Train the adapters of a model that reads the text, or resume the run in the folder.

    Args:
        reader: Model with the adapters attached.
        module: Its adapters, which are left with the best weights on val.
        builder: Builder of the prompts.
        config: Training configuration; its loss must be `answer`.
        run: Folder of checkpoints and metrics.
        name: Name of the method.
        progress: Called with progress updates.
    Raises: UsageError: If the folder holds another run. InterruptedRunError: If the process was
        interrupted; a checkpoint is written first.
    """
    task, lm = builder.task, reader.lm
    setting = {
        "method": name,
        "train": config.model_dump(),
        "task": {"name": task.name, "version": task.version, "fingerprint": task.fingerprint},
        "prompt": builder.template,
        "max_tokens": builder.max_tokens,
        "model": {"name": lm.name, "fingerprint": lm.fingerprint},
        "n_parameters": sum(p.numel() for p in module.parameters()),
    }
    config_of_run = {"setting": setting, "environment": describe_environment()}
    run.start(config_of_run, resume=True, overwrite=False)

    def part(split: SplitName, limit: int | None) -> SplitData:
        examples = task.split(split) if limit is None else task.sample(split, limit, config.seed)
        return SplitData(examples, [], sum(builder.cut(example)[1] for example in examples))

    data = TaskData(
        PromptedTask(task, reader, builder),
        part("train", config.train_limit),
        part("val", config.val_limit),
    )
    loss = Loss(config.terms, Space(lm.width, 1, lm.embedding_rms), config.seed)
    forked = [lm.device] if lm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), catch_signals() as stop:
        torch.manual_seed(config.seed)
        learner = TextLearner(reader, module, loss)
        trainer = Trainer(learner, [data], config, run, Processes(), stop, progress)
        return trainer.fit(resume=True)


def _whole(prompt: Prompt) -> Prompt:
    return replace(prompt, n_static=0)
