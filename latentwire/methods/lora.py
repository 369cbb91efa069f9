"""The receiver fine-tuned on the task with low-rank adapters; it reads the text itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.methods.fine_tuning import train_reader, whole_requests
from latentwire.methods.prompt_choice import best_on_val, own_form
from latentwire.methods.zeroshot import ZeroShot
from latentwire.models.adapters import AdapterSpec, adapted
from latentwire.train.checkpoints import copy_weights


@METHODS.add("lora")
class Lora(Method):
    """Trains adapters on every linear layer of the receiver's blocks, with a loss on the answer.

    Examples, steps, batch size, schedule, averaging and checkpoint selection are those of the
    bridge. The prompt is the best zero-shot prompt on val.

    Args:
        context: Context of the method.
        rank: Rank of the adapters, >= 1.
        lr: Peak learning rate; benchmarks/learning_rates.py tries others on val.
    Source: Hu et al. 2021, LoRA, arXiv:2106.09685.
    """

    about = "fine-tuned receiver (LoRA) reads the text"
    beats = ("zeroshot_receiver",)
    position = 71
    seeded = True
    trained = True
    version = 2  # 2: answers with the adapters merged into the weights
    dora: ClassVar[bool] = False

    def __init__(self, context: Context, *, rank: int = 8, lr: float = 1e-3) -> None:
        super().__init__(context)
        self.spec = AdapterSpec(rank, 2 * rank, self.dora, context.seed)
        self.lr = lr
        self.template = context.task.prompts[0]
        self.weights: dict[str, Tensor] = {}
        self.best: dict[str, float] = {}

    def prepare(self, progress: Progress) -> None:
        self.template = best_template(self.context, progress)
        config = self.context.training.model_copy(update={"lr": self.lr, "loss": "answer"})
        reader = self.context.receiver
        builder = self.context.prompt_builder(reader.lm, self.template)
        with folder_or_temporary(self.work) as folder, adapted(reader.lm, self.spec) as adapters:
            state = train_reader(
                reader, adapters, builder, config, RunFolder(folder), self.name, progress
            )
            assert state.best is not None
            self.best, self.weights = state.best, copy_weights(adapters)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        reader = self.context.receiver
        builder = self.context.prompt_builder(reader.lm, self.template)
        with adapted(reader.lm, self.spec) as adapters:
            adapters.load_state_dict(self.weights)
            with adapters.merged():
                return self.context.answer(
                    reader,
                    examples,
                    whole_requests(builder, examples),
                    progress,
                    self.name,
                    ranking_only=fresh,
                )

    def settings(self) -> dict[str, Any]:
        return {
            "prompt": self.template,
            "rank": self.spec.rank,
            "lr": self.lr,
            "n_parameters": sum(w.numel() for w in self.weights.values()),
            "val": self.best,
        }


@METHODS.add("dora")
class Dora(Lora):
    """LoRA with weights decomposed into magnitude and direction.

    Source: Liu et al. 2024, DoRA, arXiv:2402.09353.
    """

    about = "fine-tuned receiver (DoRA) reads the text"
    position = 72
    dora = True


def best_template(context: Context, progress: Progress) -> str:
    """Return the receiver's best zero-shot template on val that an answer can follow.

    For a chat model only chat turns are considered. Scores are those without calibration, since a
    fine-tuned model learns label frequencies.

    Raises: NotApplicableError: If the task has no such template.
    """
    zeroshot = context.methods.prepared("zeroshot_receiver", progress)
    assert isinstance(zeroshot, ZeroShot)
    own = own_form(context.receiver.lm)
    usable = {
        prompt.template: found.plain
        for prompt, found in zeroshot.choice.on_val.items()
        if prompt.form == own and "{filled}" not in prompt.template
    }
    if usable:
        return best_on_val(usable)
    raise NotApplicableError(
        f"Task '{context.task.name}' has only prompts with {{filled}}, which no answer follows."
    )


@contextmanager
def folder_or_temporary(folder: Path | None) -> Iterator[Path]:
    """Yield the folder, or a temporary one for None."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="latentwire-") as temporary:
        yield Path(temporary)
