"""Batches of rows of similar length, and their padding. Masks: True = keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def batch_by_length(
    lengths: Sequence[int], batch_size: int, max_tokens: int | None = None
) -> Iterator[list[int]]:
    """Yield batches of indices of rows with similar lengths, longest first.

    The first batch is the largest, so that a lack of memory shows at once.

    Args:
        lengths: Number of tokens of each row.
        batch_size: Maximum number of rows per batch.
        max_tokens: Maximum number of tokens per batch, padding included. A batch of one row may
            have more.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        n = batch_size
        if max_tokens is not None:
            n = min(n, max(max_tokens // max(lengths[order[start]], 1), 1))
        yield order[start : start + n]
        start += n


def tokens_per_pass(device: torch.device) -> int:
    """Return the number of tokens beyond which larger forward passes are no faster per token.

    On a CPU, the activations of more than a few hundred tokens do not fit into its caches
    (measured with `benchmarks/batched_scoring.py --batch-tokens`).
    """
    return 512 if device.type == "cpu" else 16_384


def pad_right(
    rows: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Stack token rows, padded with zeros on the right; also return the mask of real tokens."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = True
    return ids.to(device), mask.to(device)
