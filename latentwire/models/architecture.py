"""Differences between model families: submodules, attention masks and KV caches.

Other modules use `LanguageModel.architecture` and never access the inside of a model. A package
can add a family, see docs/extending.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.core.catalogue import Catalogue
from latentwire.core.errors import ModelError

KeysAndValues = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of each layer, each tensor (b, heads, n, d)."""


class Architecture:
    """The parts of one model. The defaults fit Llama-, Mistral-, Qwen- and Gemma-like models.

    A subclass overrides what differs in its family. It is chosen by the `model_type` of the model's
    configuration.

    Args:
        model: A causal language model of transformers.
        name: Name of the model in error messages.
    """

    blocks_path: ClassVar[str] = ""
    """Dotted path of the list of transformer blocks in the decoder; "" finds the only list."""

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model, name

    @cached_property
    def config(self) -> Any:
        """Configuration of the text model."""
        return self.model.config.get_text_config()

    @property
    def decoder(self) -> Any:
        """The model without its head.

        It takes `inputs_embeds` or `input_ids`, `attention_mask`, `position_ids`,
        `past_key_values` and `use_cache`, and returns `last_hidden_state` and `past_key_values`.
        """
        return self.model.base_model

    @property
    def embeddings(self) -> Any:
        """Input embedding module: token ids -> input vectors of the first block."""
        return self.model.get_input_embeddings()

    @property
    def head(self) -> Any:
        """Output projection: last hidden states -> logits, before a soft cap."""
        return self.model.get_output_embeddings()

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, first to last.

        Raises: ModelError: If they cannot be found.
        """
        blocks: Any = self.decoder.get_submodule(self._blocks_path())
        return blocks  # type: ignore[no-any-return]

    def first_blocks(self, n_layers: int) -> Any:
        """Return a view of the decoder that ends after `n_layers` blocks; weights are shared."""
        return _with_part(self.decoder, self._blocks_path().split("."), self.blocks[:n_layers])

    @property
    def width(self) -> int:
        """Size of a hidden state and of an input embedding."""
        return int(self.config.hidden_size)

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks."""
        return int(self.config.num_hidden_layers)

    @property
    def max_tokens(self) -> int:
        """Longest sequence that the model was trained for, in tokens."""
        return int(getattr(self.config, "max_position_embeddings", 0) or 2048)

    @property
    def sliding_window(self) -> int | None:
        """Attention span of the sliding layers in tokens; None if the model has none."""
        sliding = getattr(self.config, "sliding_window", None)
        return int(sliding) if sliding else None

    def logits(self, hidden: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        """Return the logits of last hidden states over the whole vocabulary."""
        # As one matrix: torch uses a batched product for a strided (b, 1, d), ten times slower.
        flat = hidden.reshape(-1, hidden.shape[-1]).contiguous()
        return self.cap(self.head(flat).view(*hidden.shape[:-1], -1))

    def logits_of(self, hidden: Float[Tensor, "*b d"], ids: list[int]) -> Float[Tensor, "*b c"]:
        """Return the logits of a few tokens only, float32."""
        head = self.head
        index = torch.tensor(ids, device=hidden.device)
        bias = head.bias[index] if getattr(head, "bias", None) is not None else None
        return self.cap(F.linear(hidden, head.weight[index], bias).float())

    def cap(self, logits: Tensor) -> Tensor:
        """Apply the soft cap on logits, if the model has one.

        Source: Gemma Team 2024, Gemma 2, arXiv:2408.00118, section 2 (logit soft-capping).
        """
        cap = getattr(self.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    def attention_masks(self, mask_for: Callable[[int | None], Tensor], n_positions: int) -> Any:
        """Return the attention masks for the decoder: one, or one for each type of layer.

        Args:
            mask_for: Returns the mask for an attention window in tokens; None is full attention.
            n_positions: Length of the longest row.
        """
        if n_positions <= (self.sliding_window or n_positions):
            return mask_for(None)
        types = getattr(self.config, "layer_types", None) or ["sliding_attention"]
        masks = {
            kind: mask_for(None if kind == "full_attention" else self.sliding_window)
            for kind in dict.fromkeys(types)
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def n_cached(self, n: int, window: int | None) -> int:
        """Return the number of keys, out of n, that a layer's cache keeps for the next token."""
        return n if window is None else min(n, window - 1)

    def new_cache(self, layers: KeysAndValues = (), n_rows: int = 1) -> Any:
        """Return a KV cache for n_rows rows; `layers` is given for one row or for each row."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.config)
        for i, (keys, values) in enumerate(layers):
            cache.update(keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1), i)
        return cache

    def cached(self, cache: Any) -> KeysAndValues:
        """Return the keys and values that a cache holds."""
        return tuple((layer.keys, layer.values) for layer in cache.layers)

    @cached_property
    def cache_shapes(self) -> tuple[tuple[int, int], ...]:
        """(heads, head size) of the keys and then of the values of each layer.

        Measured by running one token, because configurations differ in how they state it.

        Raises: ModelError: If a layer caches anything but keys and values.
        """
        with torch.no_grad():
            one = torch.zeros(1, 1, dtype=torch.long, device=self.embeddings.weight.device)
            out = self.decoder(input_ids=one, use_cache=True)
        layers = getattr(getattr(out, "past_key_values", None), "layers", ())
        kept = [getattr(layer, name, None) for layer in layers for name in ("keys", "values")]
        shapes = [
            (int(x.shape[1]), int(x.shape[3])) for x in kept if x is not None and x.dim() == 4
        ]
        mixed = any(hasattr(layer, "conv_states") for layer in layers)
        if not kept or len(shapes) < len(kept) or mixed:
            raise ModelError(
                f"Cannot find the keys and values of every layer of '{self.name}' "
                f"({type(self.model).__name__}), so it cannot read a deep prefix. Use a bridge "
                "that writes embeddings, or a receiver in which every layer has attention, such "
                "as a Llama-, Mistral-, Gemma- or Qwen-like model."
            )
        return tuple(shapes)

    def _blocks_path(self) -> str:
        if self.blocks_path:
            return self.blocks_path
        lists = [n for n, m in self.decoder.named_children() if isinstance(m, nn.ModuleList)]
        if len(lists) != 1:
            raise ModelError(
                f"Cannot find the transformer blocks of '{self.name}' "
                f"({type(self.decoder).__name__}). Llama-, Mistral-, Gemma-, Qwen- and GPT-like "
                "models are supported; for another family, add an Architecture "
                "(docs/extending.md)."
            )
        return str(lists[0])


ARCHITECTURES: Catalogue[type[Architecture]] = Catalogue(
    "model family", None, "latentwire.architectures"
)
"""Families with their own class, by `model_type`; all others use Architecture."""


def architecture_of(model: Any, name: str) -> Architecture:
    """Return the architecture of a model, chosen by its configuration's `model_type`."""
    for config in (model.config, model.config.get_text_config()):
        if found := ARCHITECTURES.find(str(getattr(config, "model_type", ""))):
            return found(model, name)
    return Architecture(model, name)


def _with_part(module: Any, path: list[str], part: nn.Module) -> Any:
    """Return a shallow copy of a module in which the module at `path` is `part`."""
    name, *rest = path
    view = copy.copy(module)
    child = _with_part(module._modules[name], rest, part) if rest else part
    view._modules = {**module._modules, name: child}
    return view
