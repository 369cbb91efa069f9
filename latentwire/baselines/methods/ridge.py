"""A closed-form map between the models, never trained on a task: what alignment alone carries."""

from __future__ import annotations

from typing import Any

from latentwire.baselines.context import METHODS
from latentwire.baselines.own_wire import OwnWire
from latentwire.baselines.prompts import best_prompt, mean_value
from latentwire.progress import Progress
from latentwire.wire import Wire

_TEXTS = 256


@METHODS.add("ridge")
class Ridge(OwnWire):
    """The `ridge` bridge, solved on words of training texts; labels choose the prompt only."""

    name = "ridge"
    about = "closed-form map of sender states"
    seeded = False

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
        self.wire.calibrate(self._cache.states(texts), task.labels, context.seed, texts=texts)
        val = context.prompt_val()
        self.on_val: dict[str, float] = {}
        for prompt in self.wire.prompts_for(task):
            self.wire.prompts = {task.name: prompt}
            self.on_val[prompt] = mean_value(self.predict(val, progress))
        self.wire.prompts = {task.name: best_prompt(self.on_val)}

    def settings(self) -> dict[str, Any]:
        prompt = self.wire.prompts[self.context.task.name]
        return {"prompt": prompt, "val_score_by_prompt": self.on_val}
