"""The receiver fine-tuned on the task: it reads the text itself, with low-rank updates."""

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
from latentwire.methods.prompt_choice import best_prompt, own_form
from latentwire.methods.zeroshot import ZeroShot
from latentwire.models.adapters import AdapterSpec, adapted
from latentwire.train.checkpoints import copy_weights

_RATE = 1e-3  # a usual one; benchmarks/learning_rates.py tries others on val


@METHODS.add("lora")
class Lora(Method):
    """Adapters on every linear layer of the receiver's blocks, trained on the answer alone.

    Examples, steps, batch, schedule, averaging and the choice of the step on val are the bridge's;
    the prompt is the one that is best on val without training.
    """

    about = "receiver fine-tuned (LoRA), reads the text"
    beats = ("zeroshot_receiver",)
    position = 71
    seeded = True
    trained = True
    version = 2  # 2: answers with the adapters merged into the weights
    dora: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context
        self.spec = AdapterSpec(context.lora_rank, 2 * context.lora_rank, self.dora, context.seed)
        self.template = context.task.prompts[0]
        self.weights: dict[str, Tensor] = {}
        self.best: dict[str, float] = {}

    def prepare(self, progress: Progress) -> None:
        self.template = best_template(self.context, progress)
        config = self.context.training.model_copy(
            update={"lr": self.context.rates.get(self.name, _RATE), "loss": "answer"}
        )
        reader = self.context.receiver
        builder = self.context.prompt_builder(reader.lm, self.template)
        with kept_or_not(self.context.work) as folder, adapted(reader.lm, self.spec) as adapters:
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
            "lr": self.context.rates.get(self.name, _RATE),
            "n_parameters": sum(w.numel() for w in self.weights.values()),
            "val": self.best,
        }


@METHODS.add("dora")
class Dora(Lora):
    """The same with weights split into magnitude and direction."""

    about = "receiver fine-tuned (DoRA), reads the text"
    beats = ("zeroshot_receiver",)
    position = 72
    dora = True


def best_template(context: Context, progress: Progress) -> str:
    """The receiver's zero-shot prompt that is best on val; one that holds the whole item.

    Of a chat receiver's prompts it is one in a turn: that is how it is asked behind a message, too.
    What is fine-tuned learns how often labels come: the prompt is the best without calibration.

    Raises: NotApplicableError: If the task has none.
    """
    zeroshot = context.prepared("zeroshot_receiver", progress)
    assert isinstance(zeroshot, ZeroShot)
    own = own_form(context.receiver.lm)
    able = {
        wording.template: found.plain
        for wording, found in zeroshot.choice.on_val.items()
        if wording.form == own and "{filled}" not in wording.template
    }
    if able:
        return best_prompt(able)
    raise NotApplicableError(
        f"Task '{context.task.name}' has no prompt that an answer could follow."
    )


@contextmanager
def kept_or_not(folder: Path | None) -> Iterator[Path]:
    """The folder to train in; a temporary one where nothing is to be kept."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="latentwire-") as temporary:
        yield Path(temporary)
