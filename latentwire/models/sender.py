"""The sender: texts -> hidden states of chosen layers, running no layer above them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from latentwire.core.errors import ModelError, ShapeError, UsageError
from latentwire.core.progress import Progress
from latentwire.models.batching import by_length, pad_right, tokens_per_pass
from latentwire.models.lm import LanguageModel


@dataclass(frozen=True)
class SenderStates:
    """What a sender thought about a batch of texts.

    Args:
        states: Residual stream after each of l layers, (b, l, t, ds), right-padded.
        mask: True at real tokens, (b, t).
    """

    states: Float[Tensor, "b l t ds"]
    mask: Bool[Tensor, "b t"]

    def __post_init__(self) -> None:
        b, _, t, _ = self.states.shape
        if self.mask.shape != (b, t):
            raise ShapeError(f"mask is {tuple(self.mask.shape)}, states say {(b, t)}.")

    def __len__(self) -> int:
        return self.states.shape[0]

    @classmethod
    def stack(cls, rows: Sequence[Float[Tensor, "l t ds"]]) -> SenderStates:
        """Right-pad states of single texts, each (l, t, ds), into one batch."""
        n_layers, _, width = rows[0].shape
        longest = max(row.shape[1] for row in rows)
        states = rows[0].new_zeros(len(rows), n_layers, longest, width)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=rows[0].device)
        for i, row in enumerate(rows):
            states[i, :, : row.shape[1]] = row
            mask[i, : row.shape[1]] = True
        return cls(states, mask)


class Sender:
    """The reading side of a wire.

    Args:
        lm: The frozen model. It is not changed: a truncated view of it shares its weights.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._decoders: dict[int, nn.Module] = {}

    def check_layers(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Layers as a tuple. Raises: UsageError: If one is not in 0..n_layers."""
        wrong = [layer for layer in layers if not 0 <= layer <= self.lm.n_layers]
        if wrong or not layers:
            raise UsageError(
                f"'{self.lm.name}' has layers 0 (embeddings) to {self.lm.n_layers}; "
                f"asked for {', '.join(map(str, wrong or layers)) or 'none'}."
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
        """Hidden states of `texts`, in their order.

        Args:
            texts: Non-empty texts as the sender reads them, already cut to length.
            layers: k means the residual stream after block k, before the final norm; 0 the
                embeddings. Blocks above the highest are not run.
            batch_size: Texts per forward pass; batches hold texts of like length.
            progress: Told of each batch.
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
        for index in by_length([len(row) for row in ids], batch_size, most):
            rows = [ids[i] for i in index]
            tokens, mask = pad_right(rows, self.lm.device)
            is_padded = len({*map(len, rows)}) > 1
            yield index, SenderStates(self.run(tokens, mask if is_padded else None, layers), mask)

    def _ids(self, text: str) -> list[int]:
        ids = self.lm.token_ids(text, special=True)
        if not text.strip() or not ids:
            raise UsageError("The text is empty: there is nothing to send.")
        return ids[: self.lm.max_tokens]

    def run(
        self, tokens: Int[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None, layers: tuple[int, ...]
    ) -> Float[Tensor, "b l t ds"]:
        """States of `layers` for token ids, right-padded.

        Args:
            tokens: Ids.
            mask: True keeps a token; None if none is padding.
            layers: See `encode`.
        """
        top = max(layers)
        if top == 0:
            return self.lm.embed(tokens)[:, None]
        # Padding is on the right and attention is causal: real tokens never see it.
        decoder = self._decoder(top)
        kept: dict[int, Tensor] = {0: self.lm.embed(tokens)} if 0 in layers else {}
        hooks = [
            block.register_forward_hook(_keep(kept, i + 1))
            for i, block in enumerate(self._blocks(decoder))
            if i + 1 in layers
        ]
        try:
            decoder(input_ids=tokens, attention_mask=mask, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack([kept[layer] for layer in layers], dim=1)

    def _blocks(self, decoder: nn.Module) -> nn.ModuleList:
        return decoder_blocks(decoder, self.lm.name)

    def _decoder(self, n_layers: int) -> nn.Module:
        """A view of the model's decoder that ends after `n_layers` blocks; weights are shared."""
        if n_layers not in self._decoders:
            base = self.lm.model.base_model
            blocks = self._blocks(base)
            view = copy.copy(base)
            view._modules = {
                name: blocks[:n_layers] if child is blocks else child
                for name, child in base._modules.items()
            }
            self._decoders[n_layers] = view
        return self._decoders[n_layers]


def default_layer(n_layers: int) -> int:
    """Return the layer that a wire reads by default: at 30 % of the depth, at least 1."""
    return max(round(n_layers * 0.3), 1)


def decoder_blocks(decoder: nn.Module, name: str) -> nn.ModuleList:
    """The list of transformer blocks of a decoder, whole or truncated.

    Args:
        decoder: A model without its head.
        name: What to call it in the message.
    Raises: ModelError: If it has none, or several lists.
    """
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList)]
    if len(lists) != 1:
        raise ModelError(
            f"Cannot find the blocks of '{name}' ({type(decoder).__name__}); "
            "Llama-, Mistral-, Gemma-, Qwen- and GPT-like models are known."
        )
    return lists[0]


def _keep(kept: dict[int, Tensor], layer: int):  # type: ignore[no-untyped-def]
    """A forward hook that stores a block's output under its layer number."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[layer] = output if isinstance(output, Tensor) else output[0]

    return hook
