"""Deep prefixes: keys and values of every layer, packed into one vector per position.

A vector holds, layer by layer, the keys and then the values, head by head, in the order of
`Architecture.cache_shapes`.
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
from latentwire.models.architecture import KeysAndValues
from latentwire.models.lm import LanguageModel


def pack_prefix(layers: Iterable[tuple[Tensor, Tensor]]) -> Float[Tensor, "b k w"]:
    """Pack the keys and values of all layers into one vector per position."""
    parts = [rearrange(part, "b h k d -> b k (h d)") for pair in layers for part in pair]
    return torch.cat(parts, dim=-1)


def unpack_prefix(lm: LanguageModel, packed: Float[Tensor, "b k w"]) -> KeysAndValues:
    """Unpack a deep prefix into keys and values of each layer, in the model's dtype."""
    shapes = lm.architecture.cache_shapes
    parts = torch.split(packed.to(lm.dtype), [h * d for h, d in shapes], dim=-1)
    heads = [h for h, _ in shapes]
    split = [rearrange(part, "b k (h d) -> b h k d", h=h) for part, h in zip(parts, heads)]
    return tuple(zip(split[::2], split[1::2]))


@torch.no_grad()
def read_prefix(lm: LanguageModel, embedded: Float[Tensor, "k dr"]) -> Float[Tensor, "k w"]:
    """Return the packed keys and values that the model computes for embeddings, float32.

    The embeddings are at positions 0..k-1. If the tokenizer begins each text with a special
    token, that token is read first and its keys and values are dropped: models use the first
    token as an attention sink, and the prompt after a deep prefix has its own.

    Raises: UsageError: If k exceeds the attention window.
    Source: for the first token, Xiao et al. 2024, arXiv:2309.17453, section 3.1 (attention sinks).
    """
    n = len(embedded)
    check_window(lm, n, 1)
    first = lm.embed(torch.tensor(lm.token_ids("", special=True)[:1], dtype=torch.long))
    x = torch.cat([first, embedded.to(first)])[None]
    positions = (torch.arange(x.shape[1], device=x.device) - len(first)).clamp(min=0)
    out = lm.architecture.decoder(
        inputs_embeds=x,
        # Without a mask, transformers takes repeated positions for several packed texts.
        attention_mask=x.new_ones(x.shape[:2], dtype=torch.long),
        position_ids=positions[None],
        use_cache=True,
    )
    layers = lm.architecture.cached(out.past_key_values)
    return pack_prefix((keys[:, :, -n:], values[:, :, -n:]) for keys, values in layers)[0].float()


def prefix_scale(lm: LanguageModel, packed: Float[Tensor, "k w"]) -> Float[Tensor, " w"]:
    """Return, for each element of a packed vector, the root mean square of its head."""
    sizes = [d for h, d in lm.architecture.cache_shapes for _ in range(h)]
    squares = [part.float().pow(2).mean() for part in torch.split(packed, sizes, dim=-1)]
    scale = torch.stack(squares).sqrt().clamp(min=1e-6)
    return scale.repeat_interleave(torch.tensor(sizes, device=packed.device))


def check_window(lm: LanguageModel, n_prefix: int, n_after: int) -> None:
    """Raise UsageError if a deep prefix and the tokens after it exceed the attention window.

    The padding of a row is between its prefix and its tokens. Within the window this changes
    nothing; beyond it, results would depend on the other rows of the batch.
    """
    if n_prefix + n_after > lm.window:
        raise UsageError(
            f"A deep prefix of {n_prefix} positions and the {n_after} tokens after it exceed the "
            f"attention window of '{lm.name}' ({lm.window} tokens). Send fewer soft tokens, "
            "shorten the receiver's prompt or answer, or use a bridge that writes embeddings."
        )


def make_read_only(cache: Any) -> None:
    """Make each layer of a cache return its keys and values with the new ones, but store nothing.

    For passes whose cache is not used again. It allows recomputation, which runs blocks twice.
    """
    for layer in cache.layers:
        layer.update = partial(_appended, layer.keys, layer.values)


def _appended(
    keys: Tensor, values: Tensor, new_keys: Tensor, new_values: Tensor, *_: object, **__: object
) -> tuple[Tensor, Tensor]:
    return torch.cat([keys, new_keys], dim=-2), torch.cat([values, new_values], dim=-2)
