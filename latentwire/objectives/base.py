"""What every objective is: a view of one batch in, one loss out, perhaps with parts of its own."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from jaxtyping import Float, Int
from torch import Tensor, nn

from latentwire.core.catalogue import Catalogue

OBJECTIVES: Catalogue[type[Objective]] = Catalogue(
    "objective", "latentwire.objectives", "latentwire.objectives", "latentwire.objectives.kinds"
)


@dataclass(frozen=True)
class Space:
    """Where soft tokens live.

    Args:
        width: dr, size of a soft token: of a receiver embedding, or of a deep prefix's position.
        soft_tokens: k, the length of a message.
        rms: Root mean square of the receiver's real embeddings, > 0.
    """

    width: int
    soft_tokens: int
    rms: float


class Batch(Protocol):
    """What an objective may ask about one batch. Each answer is computed once, when asked for."""

    @property
    def soft(self) -> Float[Tensor, "b k dr"]:
        """The bridge's soft tokens, with their gradient."""

    @property
    def targets(self) -> Int[Tensor, "b a"]:
        """Token ids of the right answers, -100 where a row's answer is shorter."""

    @property
    def answer_nll(self) -> Float[Tensor, "b a"]:
        """Negative log-likelihood of `targets` given the message, in nats; 0 at -100."""

    @property
    def logits(self) -> Float[Tensor, "b a v"]:
        """The receiver's logits at the answer positions given the message."""

    @property
    def teacher_logits(self) -> Float[Tensor, "b a v"]:
        """The same of the receiver that reads the text itself, without gradient."""

    @property
    def choice_scores(self) -> Float[Tensor, "b c"]:
        """Summed log-likelihood of each whole choice given the message, in nats.

        Up to one number for all choices of a row; -inf where a row has fewer choices.
        """

    @property
    def sender_choice_scores(self) -> Float[Tensor, "b c"]:
        """The same of the sender that reads the item itself, without gradient."""

    @property
    def text_embeddings(self) -> Float[Tensor, "b dr"]:
        """Mean of the receiver's embeddings over the tokens of each text, without gradient."""

    @property
    def real_embeddings(self) -> Float[Tensor, "n dr"]:
        """The receiver's embeddings of single tokens of the texts, without gradient."""

    def text_nll(self, max_tokens: int) -> Float[Tensor, " b"]:
        """Negative log-likelihood of each text's first tokens given the message, nats per token."""


class Objective(nn.Module, ABC):
    """Base of all objectives.

    A kind may own trained parts (a critic, a discriminator): they are trained beside the bridge,
    kept in checkpoints, and dropped when the bridge is saved.

    Args:
        space: Sizes of the soft tokens.
    """

    kind: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str]
    needs_pairs: ClassVar[bool] = False  # whether it compares examples: two or more in a batch
    needs_choices: ClassVar[bool] = False  # whether it has no meaning for a written answer
    asks_sender: ClassVar[bool] = False  # whether it compares with what the sender answers
    asks_for_the_answer: ClassVar[bool] = False  # whether it trains what the receiver answers
    in_embeddings: ClassVar[bool] = False  # whether it measures soft tokens by real embeddings

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss of a batch; lower is better."""

    def channel(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """What the receiver reads while training; the soft tokens themselves by default."""
        return soft

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Keyword options of this kind with their defaults."""
        parameters = inspect.signature(cls.__init__).parameters
        return {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
