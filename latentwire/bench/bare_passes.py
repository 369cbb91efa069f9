"""The forward passes of a latent hand-off on prepared inputs, for the bare sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.data import Example, Task
from latentwire.models import LanguageModel
from latentwire.models.batching import pad_right
from latentwire.wire.wire import Wire


class BarePasses:
    """Forward passes of sender, bridge and receiver without any other work.

    Inputs are on the device, tokenized and padded; no message is written and no score is copied
    to the host. The receiver reads soft tokens, question and answer; the start of its prompt,
    which is the same for all examples, is left out.

    Args:
        wire: Wire with the models and the bridge.
        task: Task that provides the question.
        examples: Examples of one batch.
    """

    def __init__(self, wire: Wire, task: Task, examples: Sequence[Example]) -> None:
        self.wire, self.layers = wire, wire.spec.layers
        self.n_rows = len(examples)
        sender, lm = wire.sender.lm, wire.receiver.lm
        texts, _ = wire.sender_texts(task, examples)
        rows = [sender.token_ids(text, special=True) for text in texts]
        self.tokens, self.mask = pad_right(rows, sender.device)
        self.attention = self.mask if len({*map(len, rows)}) > 1 else None
        builder = wire.prompt_builder(task)
        requests = [builder.build_handoff(example)[0] for example in examples]
        self.writes = task.kind == "generation"
        self.n_written = task.max_new_tokens if self.writes else 0
        after = [[*r.prompt.after, *max(r.answers, key=len, default=())[:-1]] for r in requests]
        new = [list(r.prompt.before[r.prompt.n_static :]) for r in requests]
        self.before, self.after = _embedded(lm, new), _embedded(lm, after)
        with torch.no_grad():
            states = wire.sender.run(self.tokens, self.attention, self.layers)
        self.bridge_inputs = states.to(lm.device), self.mask.to(lm.device)
        self.soft = self.bridge()
        self.n_sender = self.tokens.shape[1]
        self.n_receiver = self.before.shape[1] + wire.spec.soft_tokens + self.after.shape[1]

    @torch.no_grad()
    def sender(self) -> object:
        """Run the sender up to the bridge's layer."""
        return self.wire.sender.run(self.tokens, self.attention, self.layers)

    @torch.no_grad()
    def bridge(self) -> Any:
        """Run the bridge module."""
        return (self.wire.compiled or self.wire.bridge)(*self.bridge_inputs)

    @torch.no_grad()
    def receiver(self) -> object:
        """Run the receiver, with one more pass per further token of a written answer."""
        receiver, writes = self.wire.receiver, self.writes
        model = receiver.lm.architecture.decoder
        parts = [self.before, self.after]
        if receiver.reads == "embeddings":
            parts.insert(1, self.soft.to(self.after))
        out = model(inputs_embeds=torch.cat(parts, dim=1), use_cache=writes)
        logits = receiver.head(out.last_hidden_state[:, -1:]) if writes else out
        for _ in range(self.n_written - 1):
            out = model(
                inputs_embeds=receiver.lm.embed(logits.argmax(-1)),
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            logits = receiver.head(out.last_hidden_state)
        return logits


def _embedded(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> Float[Tensor, "b t d"]:
    """Return embeddings of rows, padded to the longest row, which may be empty."""
    longest = max(map(len, rows))
    return lm.embed(pad_right([row or [0] for row in rows], lm.device)[0])[:, :longest]
