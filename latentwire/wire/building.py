"""A wire before its training: which layers are read, and a bridge that fits the two models."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.bridge import Bridge, build_bridge
from latentwire.models import Receiver, Sender
from latentwire.models.sender import default_layer
from latentwire.wire.spec import WireSpec


def chosen_layers(sender: Sender, layer: int | Sequence[int] | None) -> tuple[int, ...]:
    """Sender layers to read: those given, else one at three tenths of the depth.

    Raises: UsageError: If the sender has no such layer.
    """
    if layer is None:
        layer = default_layer(sender.lm.n_layers)
    return sender.check_layers([layer] if isinstance(layer, int) else layer)


def untrained_bridge(sender: Sender, receiver: Receiver, spec: WireSpec, seed: int) -> Bridge:
    """The bridge that a wire starts with, in evaluation mode: whoever trains it switches.

    Raises: UnknownNameError, ConfigError: As `build_bridge` does.
    """
    bridge = build_bridge(
        spec.bridge,
        n_layers=len(spec.layers),
        sender_width=sender.lm.width,
        receiver_width=receiver.soft_width,
        soft_tokens=spec.soft_tokens,
        seed=seed,
        **spec.options,
    )
    return bridge.eval()
