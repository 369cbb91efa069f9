"""Padding and bucketing shared by Sender and Receiver. Masks: True = keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Batches of indices with like lengths, longest first, so that padding costs little.

    The longest come first so that a batch too big for memory fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


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
