"""Greedy decoding with a KV cache: token ids, whole texts, or streamed text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.models.forward import ForwardPasses
from latentwire.models.lm import Prompt

_INCOMPLETE = "\ufffd"  # decoded from an incomplete UTF-8 sequence


class TextGeneration(ForwardPasses):
    """Greedy text generation after prompts."""

    @torch.inference_mode()
    def stream(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        min_new_tokens: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[list[int | None]]:
        """Decode one step at a time.

        Args:
            prompts: One prompt per row.
            soft: Soft tokens of each row, or None.
            max_new_tokens: Maximum number of tokens per row.
            min_new_tokens: Minimum number of tokens per row.
            stop: Stop sequences. Those before any text do not end a row.
        Yields: For each row its next token id, or None once the row has ended.
        """
        first = self.run(prompts, soft, n_more=max_new_tokens - 1, use_cache=True)
        hidden, mask, cache = first.hidden[:, -1:], first.mask, first.cache
        position = mask.sum(1, keepdim=True)
        ends = list(self.lm.end_ids)
        running = [True] * len(prompts)
        rows = list(range(len(prompts)))  # prompts whose rows are still in the batch
        written: list[list[int]] = [[] for _ in prompts]
        for step in range(max_new_tokens):
            logits = self.head(hidden)[:, -1]
            if step < min_new_tokens:
                logits[:, ends] = -torch.inf
            tokens = logits.argmax(-1)
            emitted: list[int | None] = [None] * len(prompts)
            for i, token in zip(rows, tokens.tolist()):
                running[i] = running[i] and token not in ends
                emitted[i] = token if running[i] else None
                if stop and running[i]:
                    written[i].append(token)
                    ended = cut_at_stop(self.decode(written[i]), stop) is not None
                    running[i] = not ended or step + 1 < min_new_tokens
            yield emitted
            if not any(running) or step + 1 == max_new_tokens:
                return
            # Rows that have ended cost as much as the others, so they are dropped in halves.
            kept = [row for row, i in enumerate(rows) if running[i]]
            if 2 * len(kept) <= len(rows) and self._can_drop_rows(cache):
                index = torch.tensor(kept, device=mask.device)
                cache.batch_select_indices(index)
                tokens, mask, position = tokens[index], mask[index], position[index]
                rows = [rows[row] for row in kept]
            if first.is_padded:
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            out = self.lm.architecture.decoder(
                inputs_embeds=self.lm.embed(tokens[:, None]),
                attention_mask=mask.long() if first.is_padded else None,
                position_ids=position + step,
                past_key_values=cache,
                use_cache=True,
            )
            hidden, cache = out.last_hidden_state, out.past_key_values

    def _can_drop_rows(self, cache: Any) -> bool:
        """Return whether rows can be removed from a cache: it holds only keys and values."""
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        plain = (DynamicLayer, DynamicSlidingWindowLayer)
        layers = getattr(cache, "layers", ())
        # Processes that share a sharded model must run the same passes, whatever has ended.
        return (
            bool(layers) and all(type(each) in plain for each in layers) and not self.lm.is_sharded
        )

    def generate(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
    ) -> list[list[int]]:
        """Return the token ids written after each prompt; arguments as in `stream`."""
        written: list[list[int]] = [[] for _ in prompts]
        for emitted in self.stream(prompts, soft, max_new_tokens=max_new_tokens, stop=stop):
            for row, token in zip(written, emitted):
                if token is not None:
                    row.append(token)
        return written

    def write(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Return the text written after each prompt, stripped and without the stop sequence."""
        rows = self.generate(prompts, soft, max_new_tokens=max_new_tokens, stop=stop)
        return [_finished(self.decode(ids), stop) for ids in rows]

    def stream_text(
        self,
        prompt: Prompt,
        soft: Float[Tensor, "1 k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Yield the text that `write` returns for one prompt, piece by piece.

        A piece is yielded as soon as no later token can change it. No piece is empty.
        """
        ids: list[int] = []
        shown = ""
        for (token,) in self.stream([prompt], soft, max_new_tokens=max_new_tokens, stop=stop):
            if token is None:
                break
            ids.append(token)
            settled = _settled(self.decode(ids), stop)
            if len(settled) > len(shown) and settled.startswith(shown):
                yield settled[len(shown) :]
                shown = settled
        if rest := _finished(self.decode(ids), stop)[len(shown) :]:
            yield rest

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, without special tokens and leading white space."""
        return str(self.lm.tokenizer.decode(list(ids), skip_special_tokens=True)).lstrip()


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """Return the text before the first stop sequence, or None if there is none.

    White space at the beginning is ignored: chat models often begin with an empty line.
    """
    text = text.lstrip()
    found = [place for mark in stop if (place := text.find(mark)) >= 0]
    return text[: min(found)] if found else None


def _finished(text: str, stop: Sequence[str]) -> str:
    """Return a complete text, cut at its stop sequence and stripped."""
    cut = cut_at_stop(text, stop)
    return (text if cut is None else cut).strip()


def _settled(text: str, stop: Sequence[str]) -> str:
    """Return the beginning of an unfinished text that no later token can change."""
    cut = cut_at_stop(text, stop)
    if cut is not None:
        return cut.strip()
    held = max(
        (n for mark in stop for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0
    )
    return text[: len(text) - held].rstrip(_INCOMPLETE).strip()
