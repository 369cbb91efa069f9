"""Attention masks for several choices in one row: each attends only to the prompt and itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_MAX_PACKED_TOKENS = 128


@dataclass(frozen=True)
class PackedChoices:
    """The choices of some rows after their first tokens, packed into one sequence per row.

    Args:
        tokens: Input ids, right-padded: every choice without its last token.
        targets: Ids to score: every choice without its first token.
        owner: Index of the choice that a token belongs to; -1 at padding.
        offset: Index of a token in its choice.
        n_choices: Maximum number of choices of a row.
    """

    tokens: Int[Tensor, "b p"]
    targets: Int[Tensor, "b p"]
    owner: Int[Tensor, "b p"]
    offset: Int[Tensor, "b p"]
    n_choices: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[Sequence[int]]], device: torch.device) -> PackedChoices:
        """Pack the choices of each row. At least one choice must have two or more tokens."""
        width = max(packed_size(choices) for choices in rows)
        tokens, targets, offset = (torch.zeros(len(rows), width, dtype=torch.long) for _ in "tto")
        owner = torch.full((len(rows), width), -1)
        for i, choices in enumerate(rows):
            start = 0
            for j, ids in enumerate(choices):
                end = start + len(ids) - 1
                tokens[i, start:end] = torch.tensor(ids[:-1], dtype=torch.long)
                targets[i, start:end] = torch.tensor(ids[1:], dtype=torch.long)
                offset[i, start:end] = torch.arange(end - start)
                owner[i, start:end] = j
                start = end
        n_choices = max(len(choices) for choices in rows)
        return cls(
            tokens.to(device), targets.to(device), owner.to(device), offset.to(device), n_choices
        )

    def attention(
        self,
        prompt: Bool[Tensor, "b u"],
        dtype: torch.dtype,
        n_cached: int,
        window: int | None = None,
    ) -> Float[Tensor, "b 1 p kp"]:
        """Return the additive attention mask of the packed tokens over prompt and packed tokens.

        Args:
            prompt: True at real tokens of the prompt of each row.
            dtype: Dtype of the attention scores.
            n_cached: Number of the last keys of the prompt that a layer has cached.
            window: Number of tokens that a token attends to, itself included; None: all.
        """
        n = self.tokens.shape[1]
        same = self.owner[:, :, None] == self.owner[:, None, :]
        earlier = torch.ones(n, n, dtype=torch.bool, device=same.device).tril()
        allowed = torch.cat([prompt[:, None].expand(-1, n, -1), same & earlier], dim=2)
        if window is not None:
            own = self.positions(prompt)
            positions = torch.cat([prompt.long().cumsum(1) - 1, own], dim=1)
            allowed = allowed & (positions[:, None, :] > own[:, :, None] - window)
        return additive_mask(allowed[:, :, prompt.shape[1] - n_cached :], dtype)

    def positions(self, prompt: Bool[Tensor, "b u"]) -> Int[Tensor, "b p"]:
        """Return the position of each packed token: every choice continues from its prompt."""
        return prompt.sum(1, keepdim=True) + self.offset


def additive_mask(allowed: Bool[Tensor, "b q n"], dtype: torch.dtype) -> Float[Tensor, "b 1 q n"]:
    """Return the mask to add to attention scores: 0 where allowed, else the dtype's minimum."""
    blocked = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return blocked.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


def row_attention(
    sizes: Sequence[int], owner: Int[Tensor, " n"]
) -> tuple[Bool[Tensor, "n n"], Int[Tensor, " n"]]:
    """Return the mask and positions of `branch_attention` for rows concatenated end to end.

    No row attends to another.

    Args:
        sizes: Number of tokens of each row.
        owner: Index of the branch that a token belongs to; -1 in the trunk of its row.
    Returns: True where a token (first dimension) attends to another (second), and the position
        of each token in its row.
    """
    row = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(owner.device)
    of_one_row, _ = branch_attention(torch.ones_like(owner, dtype=torch.bool)[None], owner[None])
    allowed = of_one_row[0] & (row[None] == row[:, None])
    return allowed, allowed.sum(1) - 1


def branch_attention(
    mask: Bool[Tensor, "b n"], owner: Int[Tensor, "b n"]
) -> tuple[Bool[Tensor, "b n n"], Int[Tensor, "b n"]]:
    """Return the attention mask and positions of rows that consist of a trunk and branches.

    A token attends to the trunk and to its own branch, up to itself. A padding token attends to
    itself only, because the softmax of an empty row is NaN.

    Args:
        mask: True at real tokens; padding comes before them.
        owner: Index of the branch that a token belongs to; -1 in the trunk.
    Returns: True where a token (second dimension) attends to another (third), and positions.
    """
    n = mask.shape[1]
    places = torch.arange(n, device=mask.device)
    same = (owner[:, None, :] == -1) | (owner[:, None, :] == owner[:, :, None])
    itself = places[:, None] == places[None]
    allowed = (mask[:, None] & same & (places[:, None] >= places[None])) | itself
    return allowed, allowed.sum(2) - 1  # every branch continues from the end of the trunk


def group_for_packing(choices: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group the indices of choices with two or more tokens into packed rows of limited length.

    The cost of a packed row is quadratic in its length, and most of it is masked. Many choices
    (e.g. 77 intents) are therefore faster in a few rows than in one.
    """
    groups: list[list[int]] = []
    size = _MAX_PACKED_TOKENS
    for j, ids in enumerate(choices):
        if (n := len(ids) - 1) < 1:
            continue
        if size + n > _MAX_PACKED_TOKENS:
            groups.append([])
            size = 0
        groups[-1].append(j)
        size += n
    return groups


def packed_size(choices: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens of a packed row of choices."""
    return sum(len(ids) - 1 for ids in choices)
