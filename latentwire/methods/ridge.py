"""A closed-form map between the models, never trained on a task: what alignment alone carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Prediction
from latentwire.methods.label_calibration import Choice, calibrated, judged
from latentwire.methods.trained_wire import OwnWire
from latentwire.wire.wire import Wire

_TEXTS = 256


@METHODS.add("ridge")
class Ridge(OwnWire):
    """The `ridge` bridge, solved on words of training texts.

    Val chooses the prompt and whether labels are calibrated, as it does for text that is handed.
    """

    about = "closed-form map of sender states"
    position = 60
    seeded = trained = False
    version = 3  # 3: calibrated labels

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.choice = Choice("")

    def build(self, progress: Progress) -> Wire:
        context = self.context
        return Wire.build(
            context.sender.lm,
            context.receiver.lm,
            bridge="ridge",
            soft_tokens=context.soft_tokens,
            layer=context.layers,
            sender_prompt=context.sender_prompt,
            setting=context.setting,
            max_tokens=context.max_tokens,
            seed=context.seed,
        )

    def prepare(self, progress: Progress) -> None:
        context, task = self.context, self.context.task
        self.wire = self.build(progress)
        texts = self.texts(context.train_examples()[:_TEXTS])
        self._cache.ensure(texts, progress=progress)
        self.wire.initialize(self._cache.states(texts), task.labels, context.seed, texts=texts)
        val = context.prompt_val()
        on_val = {}
        for prompt in self.wire.prompts_for(task):
            self.wire.prompts = {task.name: prompt}
            on_val[prompt] = judged(task, val, super().predict(val, progress), prompt)
        self.choice = Choice.best(on_val)
        self.wire.prompts = {task.name: self.choice.taken}

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        answers = super().predict(examples, progress, fresh=fresh)
        return calibrated(self.context.task, examples, answers, self.choice.log_prior)

    def settings(self) -> dict[str, Any]:
        return self.choice.to_json(lambda prompt: {"prompt": prompt})
