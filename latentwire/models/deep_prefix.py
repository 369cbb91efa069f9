"""Deep prefixes: keys and values of every layer, packed into one vector per position.

The order inside a vector is that of `LanguageModel.cache_shapes`: layer by layer its keys, then
its values, head by head.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import UsageError
from latentwire.models.lm import LanguageModel

KeysAndValues = tuple[tuple[Tensor, Tensor], ...]
"""For each layer its keys and its values, each (b, heads, k, d)."""


def pack_prefix(layers: Iterable[tuple[Tensor, Tensor]]) -> Float[Tensor, "b k w"]:
    """One vector per position from the keys and values of all layers."""
    parts = [rearrange(part, "b h k d -> b k (h d)") for pair in layers for part in pair]
    return torch.cat(parts, dim=-1)


def unpack_prefix(lm: LanguageModel, packed: Float[Tensor, "b k w"]) -> KeysAndValues:
    """Keys and values as the model's cache holds them, in the model's dtype."""
    parts = torch.split(packed.to(lm.dtype), [h * d for h, d in lm.cache_shapes], dim=-1)
    heads = [h for h, _ in lm.cache_shapes]
    split = [rearrange(part, "b k (h d) -> b h k d", h=h) for part, h in zip(parts, heads)]
    return tuple(zip(split[::2], split[1::2]))


@torch.no_grad()
def read_prefix(lm: LanguageModel, embedded: Float[Tensor, "k dr"]) -> Float[Tensor, "k w"]:
    """The keys and values that the model itself has for some embeddings, packed, float32.

    They stand at positions 0..k-1. Where the tokenizer puts a token first, as models expect it,
    it is read before them and left out again: the first token of a text is a place to rest
    attention, and the prompt behind a deep prefix brings its own.

    Raises: UsageError: If k is more than every layer looks back on.
    Source: for the first token, Xiao et al. 2024, arXiv:2309.17453, section 3.1 (attention sinks).
    """
    n = len(embedded)
    check_window(lm, n, 1)
    first = lm.embed(torch.tensor(lm.token_ids("", special=True)[:1], dtype=torch.long))
    x = torch.cat([first, embedded.to(first)])[None]
    positions = (torch.arange(x.shape[1], device=x.device) - len(first)).clamp(min=0)
    out = lm.model.base_model(
        inputs_embeds=x,
        # Said to be one text: positions that do not count up look like several.
        attention_mask=x.new_ones(x.shape[:2], dtype=torch.long),
        position_ids=positions[None],
        use_cache=True,
    )
    layers = out.past_key_values.layers
    return pack_prefix((each.keys[:, :, -n:], each.values[:, :, -n:]) for each in layers)[0].float()


def prefix_scale(lm: LanguageModel, packed: Float[Tensor, "k w"]) -> Float[Tensor, " w"]:
    """Root mean square of every head's keys and values, at each place of a packed vector."""
    sizes = [d for h, d in lm.cache_shapes for _ in range(h)]
    squares = [part.float().pow(2).mean() for part in torch.split(packed, sizes, dim=-1)]
    scale = torch.stack(squares).sqrt().clamp(min=1e-6)
    return scale.repeat_interleave(torch.tensor(sizes, device=packed.device))


def check_window(lm: LanguageModel, n_prefix: int, n_behind: int) -> None:
    """Raise UsageError if a layer's window would slide off a deep prefix.

    A row's padding stands between its prefix and its tokens. Inside the window that changes
    nothing; beyond it, what a layer sees would depend on the other rows of the batch.
    """
    if n_prefix + n_behind > lm.window:
        raise UsageError(
            f"A deep prefix of {n_prefix} positions and {n_behind} tokens behind it are more than "
            f"the {lm.window} that every layer of '{lm.name}' looks back on. Send fewer soft "
            "tokens, shorten the receiver's prompt or answer, or use a bridge that writes "
            "embeddings."
        )


def read_only(cache: Any) -> None:
    """Let each layer of a cache show new keys and values behind its own, but keep none.

    For a pass from which nothing goes on: blocks may then be run twice.
    """
    for layer in cache.layers:
        layer.update = partial(_behind, layer.keys, layer.values)


def _behind(
    keys: Tensor, values: Tensor, new_keys: Tensor, new_values: Tensor, *_: object, **__: object
) -> tuple[Tensor, Tensor]:
    return torch.cat([keys, new_keys], dim=-2), torch.cat([values, new_values], dim=-2)
