"""Padding and bucketing shared by Sender and Receiver. Masks: True = keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def by_length(
    lengths: Sequence[int], batch_size: int, max_tokens: int | None = None
) -> Iterator[list[int]]:
    """Batches of indices with like lengths, longest first, so that padding costs little.

    The longest come first so that a batch too big for memory fails at once.

    Args:
        lengths: Tokens of each row.
        batch_size: Most rows of a batch.
        max_tokens: Most tokens of a batch, padding included; one row may have more.
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
    """How many tokens a forward pass should hold at most to be quick.

    A GPU wants many. On a CPU the activations of more than some hundred tokens leave its caches:
    `benchmarks/batched_scoring.py --batch-tokens` shows where.
    """
    return 512 if device.type == "cpu" else 16_384


def pad_right(
    rows: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Stack token rows; zeros fill the right side."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = True
    return ids.to(device), mask.to(device)
