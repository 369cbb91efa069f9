"""Base class of bridges: sender states -> soft tokens at the receiver's scale."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.pair_facts import PairFacts
from latentwire.core.catalogue import Catalogue
from latentwire.core.errors import ConfigError, ShapeError

BRIDGES: Catalogue[type[Bridge]] = Catalogue(
    "bridge",
    "latentwire.bridge",
    "latentwire.bridges",
    "latentwire.bridge.kinds",
    name_attribute="kind",
    required=("about", "source"),
)


class Bridge(nn.Module, ABC):
    """Base class of bridges.

    A bridge implements `mix`, which turns standardized states into offsets in units of the
    receiver's embedding scale. `forward` first standardizes the states (a few
    dimensions of language model states are hundreds of times larger than the others). It then calls
    `write`, which adds learned anchors and scales each soft token to the root mean square of real
    embeddings. A bridge may override `write` to scale its soft tokens differently.

    Keyword-only constructor arguments are the options of a bridge. They are saved with it.

    Attributes:
        kind: Name in the catalogue and name of the file.
        about: One line of help.
        source: Paper or other source of the idea.
        wants: Optional fields of `PairFacts` that the bridge needs.
        writes: Form of the soft tokens: `embeddings`, or a deep `prefix`, the packed keys and
            values of one position in all layers.

    Args:
        n_layers: l, number of sender layers in the states.
        sender_width: ds, width of the sender states.
        receiver_width: dr, width of a soft token: of a receiver embedding, or of one position of a
            deep prefix.
        soft_tokens: k, number of soft tokens.
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
        """Compute offsets from the anchors, in units of the receiver's embedding scale.

        Args:
            x: Standardized sender states, zero at padding.
            mask: True at real tokens. The result must not depend on padding.
        """

    def forward(
        self, states: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        """Compute the soft tokens of a batch of sender states.

        Args:
            states: Hidden states from `Sender.encode`, of any float dtype.
            mask: True at real tokens, at least one per row.
        Returns: Soft tokens, float32, at the scale that the receiver's layers expect.
        Raises: ShapeError: If the bridge was built for other layers or another width.
        """
        if (
            states.dim() != 4
            or states.shape[1] != self.n_layers
            or states.shape[3] != self.sender_width
        ):
            raise ShapeError(
                f"This {self.kind} bridge expects states of shape (b, {self.n_layers}, t, "
                f"{self.sender_width}) (given: {tuple(states.shape)})."
            )
        mean, std = self.state_mean[:, None], self.state_std[:, None]
        x = (states.to(mean.dtype) - mean) / std
        # Padding may contain infinities, and 0 * inf is not 0.
        x = x.masked_fill(~mask[:, None, :, None], 0.0)
        self._own = {}
        offsets = self.mix(x, mask)
        expected = (len(x), self.soft_tokens, self.receiver_width)
        if offsets.shape != expected:
            raise ShapeError(
                f"`mix` of the bridge '{self.kind}' returned {tuple(offsets.shape)}; expected "
                f"{expected}, which is (b, k, dr)."
            )
        return self.write(offsets)

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Turn the offsets from `mix` into soft tokens with the scale of real embeddings.

        Args:
            offsets: Offsets from the anchors, in units of the receiver's embedding scale.
        Returns: Soft tokens at the scale that the receiver's layers expect.
        """
        y = self.anchors + offsets
        return self.embedding_rms * y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)

    def own_losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the last forward pass, to be added to the objectives.

        They are cleared when read, so that no graph outlives its step.

        Returns: Weighted scalars by name; empty in evaluation mode.
        """
        own, self._own = self._own, {}
        return own if self.training else {}

    def note_loss(self, name: str, loss: Float[Tensor, ""]) -> None:
        """Record a weighted auxiliary loss of this forward pass for `own_losses`."""
        if self.training:
            self._own[name] = loss

    def __getstate__(self) -> dict[str, Any]:
        # Losses that were not read hold a graph, and graphs cannot be copied.
        return {**self.__dict__, "_own": {}}

    @torch.no_grad()
    def set_linear_path(self, weight: Float[Tensor, "f dr"], bias: Float[Tensor, " dr"]) -> None:
        """Set the linear path from the mean state to a map, and make all other paths output zero.

        Args:
            weight: Map from the standardized, concatenated mean states to offsets, (f, dr).
            bias: Added to all offsets, (dr,).
        Raises: ConfigError: If the bridge has no linear path.
        """
        path, writing = self._mean_path, getattr(self, "writing", None)
        if path is None or writing is None:
            raise ConfigError(
                f"The {self.kind} bridge has no linear path from the mean states of all layers to "
                "the receiver's embeddings, so ridge initialization does not apply. Use init=fresh "
                "or another bridge, such as perceiver."
            )
        path.weight.copy_(weight.T)
        writing.weight.zero_()
        self.anchors.add_(bias.to(self.anchors))

    @property
    def has_linear_path(self) -> bool:
        """Whether `mix` adds a linear map of the mean states of all layers (`mean_path`)."""
        return self._mean_path is not None

    @property
    def _mean_path(self) -> nn.Linear | None:
        path = getattr(self, "mean_path", None)
        shape = (self.receiver_width, self.n_layers * self.sender_width)
        fits = isinstance(path, nn.Linear) and path.weight.shape == shape
        return path if fits and self.writes == "embeddings" else None

    @torch.no_grad()
    def initialize(self, facts: PairFacts) -> None:
        """Initialize scales and anchors from facts about the pair.

        Raises: ConfigError: If a fact that this bridge needs is missing.
        """
        if missing := sorted(name for name in self.wants if getattr(facts, name) is None):
            raise ConfigError(
                f"The {self.kind} bridge needs {', '.join(missing)} for its initialization. Pass "
                "texts to Wire.initialize(.., texts=..)."
            )
        self.state_mean.copy_(facts.state_mean)
        self.state_std.copy_(facts.state_std)
        self.embedding_rms.fill_(facts.embedding_rms)
        self.initialize_anchors(facts)

    def initialize_anchors(self, facts: PairFacts) -> None:
        """Initialize the anchors with real embeddings, in units of their scale."""
        self.anchors.copy_(facts.anchors / facts.embedding_rms)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Options of this bridge with their defaults, without the sizes of the pair."""
        sizes = {"n_layers", "sender_width", "receiver_width", "soft_tokens"}
        parameters = inspect.signature(cls.__init__).parameters
        return {
            name: p.default
            for name, p in parameters.items()
            if p.kind is p.KEYWORD_ONLY and name not in sizes
        }

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
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
    """Build a bridge by name.

    Args:
        kind: Name in the catalogue.
        n_layers: Number of sender layers.
        sender_width: Width of the sender states.
        receiver_width: Width of a soft token.
        soft_tokens: Number of soft tokens, at least 1.
        seed: Random seed of the initial weights.
        options: Options of the bridge.
    Raises:
        UnknownNameError: If the name is unknown.
        ConfigError: If an option is unknown or out of range.
    """
    cls = BRIDGES.get(kind)
    known = cls.options()
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise ConfigError(
            f"The {kind} bridge has no option {', '.join(wrong)}. "
            f"Its options: {', '.join(f'{k}={v}' for k, v in known.items()) or 'none'}."
        )
    for name, value in options.items():
        _check_type(kind, name, value, known[name])
    if soft_tokens < 1:
        raise ConfigError(f"soft_tokens is {soft_tokens}; it must be >= 1.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(
            n_layers=n_layers,
            sender_width=sender_width,
            receiver_width=receiver_width,
            soft_tokens=soft_tokens,
            **options,
        )


def _check_type(kind: str, name: str, value: Any, default: Any) -> None:
    """Raise ConfigError unless an option has the type of its default."""
    number = isinstance(default, int | float) and not isinstance(default, bool)
    allowed = ((int, float) if isinstance(default, float) else int) if number else type(default)
    wrong = not isinstance(value, allowed) or (number and isinstance(value, bool))
    if default is not None and wrong:
        raise ConfigError(
            f"The {kind} bridge's option {name} is {value!r}; it must be of type "
            f"{type(default).__name__}, such as {default!r}."
        )
