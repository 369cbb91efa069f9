"""Base class of objectives, and the interface of the batches from which they compute losses."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from jaxtyping import Float, Int
from torch import Tensor, nn

from latentwire.core.catalogue import Catalogue

OBJECTIVES: Catalogue[type[Objective]] = Catalogue(
    "objective",
    "latentwire.objectives",
    "latentwire.objectives",
    "latentwire.objectives.kinds",
    name_attribute="kind",
    required=("about", "source"),
)


@dataclass(frozen=True)
class Space:
    """Size and scale of the soft tokens.

    Args:
        width: dr, the width of a soft token: of a receiver embedding, or of one position of a
            deep prefix.
        soft_tokens: k, the number of soft tokens.
        rms: Root mean square of the receiver's real embeddings, > 0.
    """

    width: int
    soft_tokens: int
    rms: float


class Batch(Protocol):
    """Quantities of one batch for objectives. Each is computed once, on first use."""

    @property
    def soft(self) -> Float[Tensor, "b k dr"]:
        """Soft tokens from the bridge, with gradient."""

    @property
    def targets(self) -> Int[Tensor, "b a"]:
        """Token ids of the right answers, padded with -100."""

    @property
    def answer_nll(self) -> Float[Tensor, "b a"]:
        """Negative log-likelihood of `targets` given the message, in nats; 0 at -100."""

    @property
    def logits(self) -> Float[Tensor, "b a v"]:
        """Logits of the receiver at the answer positions, given the message."""

    @property
    def teacher_logits(self) -> Float[Tensor, "b a v"]:
        """Logits of the receiver at the answer positions, given the text; without gradient."""

    @property
    def choice_scores(self) -> Float[Tensor, "b c"]:
        """Summed log-likelihood of each choice given the message, in nats.

        Defined up to a constant per row, and padded with -inf.
        """

    @property
    def sender_choice_scores(self) -> Float[Tensor, "b c"]:
        """Summed log-likelihood of each choice by the sender given the text; without gradient."""

    @property
    def text_embeddings(self) -> Float[Tensor, "b dr"]:
        """Mean receiver embedding of the tokens of each text; without gradient."""

    @property
    def real_embeddings(self) -> Float[Tensor, "n dr"]:
        """Receiver embeddings of tokens from the texts; without gradient."""

    def text_nll(self, max_tokens: int) -> Float[Tensor, " b"]:
        """Negative log-likelihood of each text's first tokens given the message, nats per token."""


class Objective(nn.Module, ABC):
    """Base class of objectives.

    An objective may have trained parameters (a critic, a discriminator). They are trained along
    with the bridge and saved in checkpoints, but not with the bridge.

    Keyword-only constructor arguments are options, which a loss expression can set.

    Attributes:
        kind: Name in the catalogue.
        about: One line of help.
        source: Paper or other source of the idea.
        needs_pairs: Whether it compares examples, so a batch needs two or more.
        needs_choices: Whether it needs tasks with choices.
        needs_sender_scores: Whether it uses `Batch.sender_choice_scores`.
        needs_embeddings: Whether it compares soft tokens with real embeddings.
        trains_answer: Whether it trains the receiver's answer; the best step is then selected by
            validation accuracy.

    Args:
        space: Size and scale of the soft tokens.
    """

    kind: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str]
    needs_pairs: ClassVar[bool] = False
    needs_choices: ClassVar[bool] = False
    needs_sender_scores: ClassVar[bool] = False
    trains_answer: ClassVar[bool] = False
    needs_embeddings: ClassVar[bool] = False

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """Loss of a batch; lower is better."""

    def channel(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Soft tokens that the receiver reads in training; unchanged by default."""
        return soft

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Options of this objective with their defaults."""
        parameters = inspect.signature(cls.__init__).parameters
        return {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
