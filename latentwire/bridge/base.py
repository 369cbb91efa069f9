"""What every bridge is: sender states in, soft tokens of the receiver's scale out."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.core.catalogue import Catalogue
from latentwire.core.errors import ConfigError, ShapeError

BRIDGES: Catalogue[type[Bridge]] = Catalogue(
    "bridge", "latentwire.bridge", "latentwire.bridges", "latentwire.bridge.kinds"
)


class AlignedSpans(NamedTuple):
    """The same n pieces of text as either model has them.

    Args:
        states: Mean sender state over each span's tokens, (n, l, ds).
        embeddings: Mean embedding output of the receiver over each span's tokens, (n, dr).
    """

    states: Float[Tensor, "n l ds"]
    embeddings: Float[Tensor, "n dr"]


class InitialPrefix(NamedTuple):
    """Keys and values of the receiver in all its layers, packed into one vector per position.

    Args:
        start: Those it has for the anchors when it reads them, (k, w).
        scale: Root mean square of the head that each value belongs to, (w,), > 0.
    """

    start: Float[Tensor, "k w"]
    scale: Float[Tensor, " w"]


@dataclass(frozen=True)
class PairFacts:
    """Facts about the pair that a bridge needs before it learns.

    The optional ones cost time to gather: a kind names those that it needs in `Bridge.wants`.

    Args:
        state_mean: Mean of the sender states over real tokens, (l, ds).
        state_std: Their standard deviation, (l, ds), > 0.
        embedding_rms: Root mean square of the receiver's embedding outputs, > 0.
        anchors: Embedding outputs to start the k soft tokens from, (k, dr).
        embeddings: Embedding outputs of a part of the receiver's vocabulary, the most useful
            first, (n, dr).
        spans: Paired states and embeddings of the same pieces of text.
        prefix: Keys and values to start a deep prefix from.
    """

    state_mean: Float[Tensor, "l ds"]
    state_std: Float[Tensor, "l ds"]
    embedding_rms: float
    anchors: Float[Tensor, "k dr"]
    embeddings: Float[Tensor, "n dr"] | None = None
    spans: AlignedSpans | None = None
    prefix: InitialPrefix | None = None


class Bridge(nn.Module, ABC):
    """Base of all bridges.

    A kind implements `mix`, which sees standardised states and returns offsets in units of the
    receiver's embedding scale. The base standardises before it (states of language models have
    a few dimensions hundreds of times larger than the rest) and, after it, adds learned anchors
    and brings every soft token to the root mean square of real embeddings: that is `write`, which
    a kind may replace if its soft tokens come by their scale in another way.

    Attributes:
        kind: Its name in the catalogue, the name of its file.
        about: What it is, in a few words.
        source: Where the idea comes from.
        wants: Optional fields of `PairFacts` that it cannot do without.
        writes: What its soft tokens are to the receiver: `embeddings`, or a deep `prefix`, packed
            keys and values of one position in all layers.

    Args:
        n_layers: Number l of sender layers in the states.
        sender_width: ds.
        receiver_width: dr, size of what is written: of an embedding, or of a prefix position.
        soft_tokens: k, the length of a message.
    """

    kind: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str]
    wants: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[Literal["embeddings", "prefix"]] = "embeddings"

    def __init__(
        self, *, n_layers: int, sender_width: int, receiver_width: int, soft_tokens: int
    ) -> None:
        super().__init__()
        self.n_layers, self.soft_tokens = n_layers, soft_tokens
        self.sender_width, self.receiver_width = sender_width, receiver_width
        self.state_mean: Tensor
        self.state_std: Tensor
        self.embedding_rms: Tensor
        self.register_buffer("state_mean", torch.zeros(n_layers, sender_width))
        self.register_buffer("state_std", torch.ones(n_layers, sender_width))
        self.register_buffer("embedding_rms", torch.ones(()))
        self.anchors = nn.Parameter(torch.randn(soft_tokens, receiver_width))
        self._own: dict[str, Tensor] = {}

    @abstractmethod
    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        """Offsets from the anchors, in units of the receiver's embedding scale.

        Args:
            x: Standardised sender states.
            mask: True at real tokens. The answer must not depend on the other ones.
        """

    def forward(
        self, states: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        """Soft tokens for a batch of sender states.

        Args:
            states: As `Sender.encode` gives them, any float type.
            mask: True at real tokens, at least one in each row.
        Returns: Soft tokens, float32, scaled as the receiver's layers expect them.
        Raises: ShapeError: If the states are not those the bridge was built for.
        """
        if (
            states.dim() != 4
            or states.shape[1] != self.n_layers
            or states.shape[3] != self.sender_width
        ):
            raise ShapeError(
                f"This {self.kind} bridge reads states (b, {self.n_layers}, t, "
                f"{self.sender_width}); it was given {tuple(states.shape)}."
            )
        mean, std = self.state_mean[:, None], self.state_std[:, None]
        x = (states.to(mean.dtype) - mean) / std
        # Padding holds whatever the caller left there, perhaps infinities: 0 * inf is not 0.
        x = x.masked_fill(~mask[:, None, :, None], 0.0)
        self._own = {}
        return self.write(self.mix(x, mask))

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Soft tokens from what `mix` gave; each gets the root mean square of real embeddings.

        Args:
            offsets: In units of the receiver's embedding scale.
        Returns: Soft tokens as the receiver's layers expect them.
        """
        y = self.anchors + offsets
        return self.embedding_rms * y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)

    def own_losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the last forward pass in training mode, to be added to the task's.

        They are handed out once: what is read is forgotten, so that no graph outlives its step.

        Returns: Scalars by name, already weighted by the kind's options; none in eval mode.
        """
        own, self._own = self._own, {}
        return own if self.training else {}

    def note_loss(self, name: str, loss: Float[Tensor, ""]) -> None:
        """Keep a weighted auxiliary loss of this forward pass for `own_losses`."""
        if self.training:
            self._own[name] = loss

    def __getstate__(self) -> dict[str, Any]:
        # Losses that nobody read hang on their graph, and a graph cannot be copied.
        return {**self.__dict__, "_own": {}}

    @torch.no_grad()
    def set_linear_path(self, found: Float[Tensor, "f dr"], shift: Float[Tensor, " dr"]) -> None:
        """Start the linear path from the mean state at a known map; what is beside it adds nothing.

        Args:
            found: From the standardised mean states of all layers, side by side, to offsets.
            shift: Added to every offset.
        Raises: ConfigError: If this kind has no such path.
        """
        path, writing = self._mean_path, getattr(self, "writing", None)
        if path is None or writing is None:
            raise ConfigError(
                f"The {self.kind} bridge has no linear path from the mean states of all layers to "
                "the receiver's embeddings, so it cannot start at a map; perceiver has one."
            )
        path.weight.copy_(found.T)
        writing.weight.zero_()
        self.anchors.add_(shift.to(self.anchors))

    @property
    def has_linear_path(self) -> bool:
        """Whether offsets are those of `writing` plus a linear map of all layers' mean states."""
        return self._mean_path is not None

    @property
    def _mean_path(self) -> nn.Linear | None:
        path = getattr(self, "mean_path", None)
        shape = (self.receiver_width, self.n_layers * self.sender_width)
        fits = isinstance(path, nn.Linear) and path.weight.shape == shape
        return path if fits and self.writes == "embeddings" else None

    @torch.no_grad()
    def initialize(self, facts: PairFacts) -> None:
        """Take over the pair's scales and start the soft tokens at real ones.

        Raises: ConfigError: If a fact is missing that this kind wants.
        """
        if missing := sorted(name for name in self.wants if getattr(facts, name) is None):
            raise ConfigError(
                f"The {self.kind} bridge needs {', '.join(missing)} to start from: "
                "calibrate it with some texts, as Wire.initialize(.., texts=..) does."
            )
        self.state_mean.copy_(facts.state_mean)
        self.state_std.copy_(facts.state_std)
        self.embedding_rms.fill_(facts.embedding_rms)
        self.start(facts)

    def start(self, facts: PairFacts) -> None:
        """Put the anchors where soft tokens begin: at real embeddings, in units of their scale."""
        self.anchors.copy_(facts.anchors / facts.embedding_rms)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Keyword options of this kind with their defaults, without the pair's sizes."""
        sizes = {"n_layers", "sender_width", "receiver_width", "soft_tokens"}
        parameters = inspect.signature(cls.__init__).parameters
        return {
            name: p.default
            for name, p in parameters.items()
            if p.kind is p.KEYWORD_ONLY and name not in sizes
        }

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def build_bridge(
    kind: str,
    *,
    n_layers: int,
    sender_width: int,
    receiver_width: int,
    soft_tokens: int,
    seed: int = 0,
    **options: Any,
) -> Bridge:
    """Build a bridge of a known kind with seeded initial weights.

    Raises:
        UnknownNameError: If there is no such kind.
        ConfigError: If an option is not one of the kind's.
    """
    cls = BRIDGES.get(kind)
    known = cls.options()
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise ConfigError(
            f"The {kind} bridge has no option {', '.join(wrong)}. "
            f"Its options: {', '.join(f'{k}={v}' for k, v in known.items()) or 'none'}."
        )
    if soft_tokens < 1:
        raise ConfigError(f"soft_tokens is {soft_tokens}; it must be at least 1.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(
            n_layers=n_layers,
            sender_width=sender_width,
            receiver_width=receiver_width,
            soft_tokens=soft_tokens,
            **options,
        )
