"""Activation checkpointing: recompute the blocks of a frozen model to save memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint

from latentwire.models.lm import LanguageModel


@contextmanager
def recomputed_blocks(lm: LanguageModel, active: bool = True) -> Iterator[None]:
    """Keep only the inputs of the blocks in forward passes; the backward pass runs them again.

    Forward passes inside this context must not fill a KV cache, because blocks would fill it
    twice. The model is in evaluation mode, so both runs of a block give the same result.

    Args:
        lm: Frozen model, restored at the end of the context.
        active: If False, the context has no effect.
    Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174.
    """
    blocks = lm.architecture.blocks if active else ()
    for block in blocks:
        plain = block.forward
        block.forward = partial(checkpoint, plain, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's method is visible again
