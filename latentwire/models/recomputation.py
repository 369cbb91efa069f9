"""Trade time for memory: activations of a frozen model's blocks are made again when needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint

from latentwire.models.lm import LanguageModel
from latentwire.models.sender import decoder_blocks


@contextmanager
def recomputed_blocks(lm: LanguageModel, active: bool = True) -> Iterator[None]:
    """Inside, a forward pass keeps the inputs of the blocks only; backward runs each block again.

    The prompts must be run whole: a cache of keys would be filled twice. The model stays in
    evaluation mode, so a second run gives what the first one gave.

    Args:
        lm: The frozen model; outside the block it is as before.
        active: False does nothing.
    Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174.
    """
    blocks = decoder_blocks(lm.model.base_model, lm.name) if active else ()
    for block in blocks:
        plain = block.forward
        block.forward = partial(checkpoint, plain, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own method shows again
