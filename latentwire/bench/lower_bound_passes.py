"""The passes that no latent hand-off can do without, on inputs that are ready: the bare sum."""

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


class BareSum:
    """Sender up to its layer, bridge, receiver over soft tokens, question and answer.

    Tokens lie on the device, nothing is tokenised, padded, packed or read back. What the
    receiver's prompt begins with is left out: it was read once and for all.

    Args:
        wire: Its models and bridge.
        task: Gives the question.
        examples: One batch.
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
        behind = [[*r.prompt.after, *max(r.answers, key=len, default=())[:-1]] for r in requests]
        new = [list(r.prompt.before[r.prompt.n_static :]) for r in requests]
        self.before, self.behind = _embedded(lm, new), _embedded(lm, behind)
        with torch.no_grad():
            states = wire.sender.run(self.tokens, self.attention, self.layers)
        self.bridge_inputs = states.to(lm.device), self.mask.to(lm.device)
        self.soft = self.bridge()
        self.n_sender = self.tokens.shape[1]
        self.n_receiver = self.before.shape[1] + wire.spec.soft_tokens + self.behind.shape[1]

    @torch.no_grad()
    def sender(self) -> object:
        """The sender's prefill to its layer."""
        return self.wire.sender.run(self.tokens, self.attention, self.layers)

    @torch.no_grad()
    def bridge(self) -> Any:
        """The bridge module alone."""
        return (self.wire.compiled or self.wire.bridge)(*self.bridge_inputs)

    @torch.no_grad()
    def receiver(self) -> object:
        """The receiver's forward pass; for a written answer also one pass for each more token."""
        receiver, writes = self.wire.receiver, self.writes
        model = receiver.lm.architecture.decoder
        parts = [self.before, self.behind]
        if receiver.reads == "embeddings":
            parts.insert(1, self.soft.to(self.behind))
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
    """Token embeddings of rows, t of the longest, which may be 0."""
    longest = max(map(len, rows))
    return lm.embed(pad_right([row or [0] for row in rows], lm.device)[0])[:, :longest]
