"""Linear probe: predict the label from the sender's hidden states, without a receiver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from einops import rearrange

from latentwire.bridge.pooling import masked_mean
from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_BATCH = 64
_ABSENT = -1e4  # score of labels without training examples


@METHODS.add("linear_probe")
class LinearProbe(Method):
    """Logistic regression on standardized mean states at the layers of the bridge.

    The inverse regularization strength C is the one with the best val accuracy.
    """

    about = "linear classifier on the sender's states"
    position = 20
    in_eval = True
    seeded = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if not context.task.labels:
            raise NotApplicableError(
                f"linear_probe needs a fixed list of labels; '{context.task.name}' has none."
            )
        self.model: Any = None
        self.on_val: dict[float, float] = {}

    def prepare(self, progress: Progress) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        task, context = self.context.task, self.context
        train = context.train_examples()
        val = list(task.split("val"))
        x, y = self._features(train, progress), [e.target for e in train]
        x_val, y_val = self._features(val, progress), np.array([e.target for e in val])
        fits = {}
        for strength in _STRENGTHS:
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=strength, max_iter=5000)
            ).fit(x, y)
            self.on_val[strength] = float((model.predict(x_val) == y_val).mean())
            fits[strength] = model
        self.model = fits[max(self.on_val, key=self.on_val.__getitem__)]

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        known = list(self.model[-1].classes_)
        scores = np.full((len(examples), len(self.context.task.labels)), _ABSENT)
        scores[:, known] = self._log_probabilities(self._features(examples, progress, fresh))
        return [
            Prediction.of(self.context.task, example, Response(tuple(row)))
            for example, row in zip(examples, scores.tolist(), strict=True)
        ]

    def settings(self) -> dict[str, Any]:
        best = max(self.on_val, key=self.on_val.__getitem__)
        return {"C": best, "val_accuracy_by_C": {str(c): v for c, v in self.on_val.items()}}

    def _log_probabilities(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return log-probabilities of labels, finite even if a probability rounds to 0."""
        from scipy.special import log_softmax

        logits = self.model.decision_function(x)
        if logits.ndim == 1:  # two labels have one logit
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        return np.asarray(log_softmax(logits, axis=1))

    def _features(
        self, examples: Sequence[Example], progress: Progress, fresh: bool = False
    ) -> np.ndarray[Any, Any]:
        """Return the mean states of each example, (n, l * ds)."""
        context = self.context
        texts = context.sender_texts(examples)
        if not fresh:
            context.cache.ensure(texts, progress=progress)
        pooled = []
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            states = (
                context.sender.encode(part, context.layers) if fresh else context.cache.states(part)
            )
            mean = masked_mean(states.states.float(), states.mask)
            pooled.append(rearrange(mean, "b l d -> b (l d)").cpu().numpy())
        return np.concatenate(pooled)
