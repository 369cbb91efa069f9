"""Closed-form map between the models, without training on the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Prediction
from latentwire.methods.label_calibration import calibrate, score_on_val
from latentwire.methods.prompt_choice import PromptChoice
from latentwire.methods.trained_wire import TrainedWireMethod
from latentwire.wire.wire import Wire

_N_TEXTS = 256


@METHODS.add("ridge")
class Ridge(TrainedWireMethod):
    """Uses the `ridge` bridge, solved on words of training texts.

    Prompt and label calibration are chosen on val, as for text methods.
    """

    about = "closed-form map of sender states"
    position = 60
    seeded = trained = False
    version = 3  # 3: calibrated labels

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.choice = PromptChoice("")

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
        texts = self.texts(context.train_examples()[:_N_TEXTS])
        self._cache.ensure(texts, progress=progress)
        self.wire.initialize(self._cache.states(texts), task.labels, context.seed, texts=texts)
        val = context.prompt_val()
        on_val = {}
        for prompt in self.wire.prompts_for(task):
            self.wire.prompts = {task.name: prompt}
            on_val[prompt] = score_on_val(task, val, super().predict(val, progress), prompt)
        self.choice = PromptChoice.best(on_val)
        self.wire.prompts = {task.name: self.choice.prompt}

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        answers = super().predict(examples, progress, fresh=fresh)
        return calibrate(self.context.task, examples, answers, self.choice.log_prior)

    def settings(self) -> dict[str, Any]:
        return self.choice.to_json(lambda prompt: {"prompt": prompt})
