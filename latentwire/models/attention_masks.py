"""All choices of a prompt side by side in one row: each sees the prompt and itself only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_MAX_PACKED_TOKENS = 128


@dataclass(frozen=True)
class PackedChoices:
    """What is left to score of the choices of some rows, once their first tokens are scored.

    Args:
        tokens: Ids that are read, right-padded; every choice without its last token.
        targets: Ids that are scored; every choice without its first token.
        owner: Number of the choice that a token belongs to; -1 at padding.
        offset: Place of a token within its choice, from 0.
        n_choices: Choices of the row that has most.
    """

    tokens: Int[Tensor, "b p"]
    targets: Int[Tensor, "b p"]
    owner: Int[Tensor, "b p"]
    offset: Int[Tensor, "b p"]
    n_choices: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[Sequence[int]]], device: torch.device) -> PackedChoices:
        """Pack the choices of each row; at least one of them has two tokens or more."""
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
        n_kept: int,
        window: int | None = None,
    ) -> Float[Tensor, "b 1 p kp"]:
        """What is added to attention scores: 0 where a token may look, else a huge negative.

        Args:
            prompt: True at real tokens of each row's prompt.
            dtype: Of the scores.
            n_kept: How many of the prompt's last keys a layer still has.
            window: How far back a token of a layer sees, itself included; None: all the way.
        """
        n = self.tokens.shape[1]
        same = self.owner[:, :, None] == self.owner[:, None, :]
        earlier = torch.ones(n, n, dtype=torch.bool, device=same.device).tril()
        allowed = torch.cat([prompt[:, None].expand(-1, n, -1), same & earlier], dim=2)
        if window is not None:
            own = self.positions(prompt)
            places = torch.cat([prompt.long().cumsum(1) - 1, own], dim=1)
            allowed = allowed & (places[:, None, :] > own[:, :, None] - window)
        return added_to_scores(allowed[:, :, prompt.shape[1] - n_kept :], dtype)

    def positions(self, prompt: Bool[Tensor, "b u"]) -> Int[Tensor, "b p"]:
        """Place of each token in its text: every choice goes on from its prompt's end."""
        return prompt.sum(1, keepdim=True) + self.offset


def added_to_scores(allowed: Bool[Tensor, "b q n"], dtype: torch.dtype) -> Float[Tensor, "b 1 q n"]:
    """What is added to attention scores: 0 where a token may look, else a huge negative."""
    blocked = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return blocked.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


def row_attention(
    sizes: Sequence[int], owner: Int[Tensor, " n"]
) -> tuple[Bool[Tensor, "n n"], Int[Tensor, " n"]]:
    """The same as `branch_attention` for rows that stand end to end: none sees another.

    Args:
        sizes: Tokens of each row.
        owner: Number of the branch that a token belongs to; -1 in the trunk of its row.
    Returns: True where a token (first dimension) may look (second), and places from 0 in its row.
    """
    row = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(owner.device)
    of_one_row, _ = branch_attention(torch.ones_like(owner, dtype=torch.bool)[None], owner[None])
    allowed = of_one_row[0] & (row[None] == row[:, None])
    return allowed, allowed.sum(1) - 1


def branch_attention(
    mask: Bool[Tensor, "b n"], owner: Int[Tensor, "b n"]
) -> tuple[Bool[Tensor, "b n n"], Int[Tensor, "b n"]]:
    """What each token of a row sees, and its place, where branches stand behind a trunk.

    A token sees the trunk and its own branch up to itself. Padding sees itself alone: a row of
    scores without any would be no number.

    Args:
        mask: True at real tokens; padding stands before them.
        owner: Number of the branch that a token belongs to; -1 in the trunk.
    Returns: True where a token (second dimension) may look (third), and places from 0.
    """
    n = mask.shape[1]
    places = torch.arange(n, device=mask.device)
    same = (owner[:, None, :] == -1) | (owner[:, None, :] == owner[:, :, None])
    itself = places[:, None] == places[None]
    allowed = (mask[:, None] & same & (places[:, None] >= places[None])) | itself
    return allowed, allowed.sum(2) - 1  # every branch goes on from the trunk's end


def pack(choices: Sequence[Sequence[int]]) -> list[list[int]]:
    """Numbers of the choices that are longer than one token, in groups of limited size.

    A packed row costs the square of its length, most of it masked: 77 intents are better packed
    in a few rows than in one.
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
    """Tokens that the choices of one row take when packed."""
    return sum(len(ids) - 1 for ids in choices)
