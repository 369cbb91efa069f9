"""The sender: texts -> hidden states of chosen layers. Layers above them are not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from latentwire.core.errors import ShapeError, UsageError
from latentwire.core.progress import Progress
from latentwire.models.batching import batch_by_length, pad_right, tokens_per_pass
from latentwire.models.lm import LanguageModel


@dataclass(frozen=True)
class SenderStates:
    """Hidden states of a batch of texts.

    Args:
        states: Residual stream after each of l layers, right-padded.
        mask: True at real tokens.
    """

    states: Float[Tensor, "b l t ds"]
    mask: Bool[Tensor, "b t"]

    def __post_init__(self) -> None:
        b, _, t, _ = self.states.shape
        if self.mask.shape != (b, t):
            raise ShapeError(f"The mask is {tuple(self.mask.shape)}, not {(b, t)}.")

    def __len__(self) -> int:
        return self.states.shape[0]

    @classmethod
    def stack(cls, rows: Sequence[Float[Tensor, "l t ds"]]) -> SenderStates:
        """Stack the states of single texts into one right-padded batch."""
        n_layers, _, width = rows[0].shape
        longest = max(row.shape[1] for row in rows)
        states = rows[0].new_zeros(len(rows), n_layers, longest, width)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=rows[0].device)
        for i, row in enumerate(rows):
            states[i, :, : row.shape[1]] = row
            mask[i, : row.shape[1]] = True
        return cls(states, mask)


class Sender:
    """Frozen model that reads texts. A truncated view of the model shares its weights."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._decoders: dict[int, Any] = {}

    def check_layers(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Return layers as a tuple. Raises: UsageError: If one is not in 0..n_layers."""
        wrong = [layer for layer in layers if not 0 <= layer <= self.lm.n_layers]
        if wrong or not layers:
            given = ", ".join(map(str, wrong)) or "none"
            raise UsageError(
                f"Sender layers given: {given}. '{self.lm.name}' has layers 0 (embeddings) to "
                f"{self.lm.n_layers}."
            )
        return tuple(layers)

    def encode(
        self,
        texts: Sequence[str],
        layers: Sequence[int],
        *,
        batch_size: int = 16,
        progress: Progress | None = None,
    ) -> SenderStates:
        """Return the hidden states of texts, in their order.

        Args:
            texts: Non-empty texts, already truncated to the maximum length.
            layers: Layer k is the residual stream after block k, before the final norm; layer 0
                is the embeddings. Blocks above the highest layer are not run.
            batch_size: Maximum number of texts per forward pass; batches hold texts of similar
                length.
            progress: Receives a progress report after each batch.
        Returns: States (b, l, t, ds) in the model's dtype, on its device.
        Raises: UsageError: If a layer is out of range or a text is empty.
        """
        rows: list[Tensor] = [torch.empty(0)] * len(texts)
        with (progress or Progress()).task("sender states", len(texts)) as bar:
            for index, batch in self.encode_batches(texts, layers, batch_size=batch_size):
                for i, states, mask in zip(index, batch.states, batch.mask):
                    rows[i] = states[:, mask]
                bar.advance(len(index))
        return SenderStates.stack(rows)

    @torch.inference_mode()
    def encode_batches(self, texts: Sequence[str], layers: Sequence[int], *, batch_size: int = 16):  # type: ignore[no-untyped-def]
        """Yield (indices into `texts`, their SenderStates), longest texts first."""
        layers = self.check_layers(layers)
        ids = [self._ids(text) for text in texts]
        most = tokens_per_pass(self.lm.device)
        for index in batch_by_length([len(row) for row in ids], batch_size, most):
            rows = [ids[i] for i in index]
            tokens, mask = pad_right(rows, self.lm.device)
            is_padded = len({*map(len, rows)}) > 1
            yield index, SenderStates(self.run(tokens, mask if is_padded else None, layers), mask)

    def _ids(self, text: str) -> list[int]:
        ids = self.lm.token_ids(text, special=True)
        if not text.strip() or not ids:
            raise UsageError("The text is empty. Give a text with at least one word.")
        return ids[: self.lm.max_tokens]

    def run(
        self, tokens: Int[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None, layers: tuple[int, ...]
    ) -> Float[Tensor, "b l t ds"]:
        """Return the hidden states of right-padded token ids.

        Args:
            tokens: Token ids.
            mask: True at real tokens; None if no row is padded.
            layers: Layers as in `encode`.
        """
        top = max(layers)
        if top == 0:
            return self.lm.embed(tokens)[:, None]
        # Padding is on the right and attention is causal, so real tokens never attend to it.
        decoder = self._decoder(top)
        kept: dict[int, Tensor] = {0: self.lm.embed(tokens)} if 0 in layers else {}
        hooks = [
            block.register_forward_hook(_keep(kept, i + 1))
            for i, block in enumerate(self.lm.architecture.blocks)
            if i + 1 in layers
        ]
        try:
            decoder(input_ids=tokens, attention_mask=mask, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack([kept[layer] for layer in layers], dim=1)

    def _decoder(self, n_layers: int) -> Any:
        """Return a view of the decoder that ends after `n_layers` blocks."""
        if n_layers not in self._decoders:
            self._decoders[n_layers] = self.lm.architecture.first_blocks(n_layers)
        return self._decoders[n_layers]


def default_layer(n_layers: int) -> int:
    """Return the layer that a wire reads by default: at 30 % of the depth, at least 1."""
    return max(round(n_layers * 0.3), 1)


def _keep(kept: dict[int, Tensor], layer: int):  # type: ignore[no-untyped-def]
    """Return a forward hook that stores the output of a block under its layer index."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[layer] = output if isinstance(output, Tensor) else output[0]

    return hook
