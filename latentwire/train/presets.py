"""Bridge and loss under one name, as papers call them."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.core.errors import UnknownNameError


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Args:
        bridge: Kind of bridge.
        loss: What it is trained for.
        about: What the name stands for.
    """

    bridge: str
    loss: str
    about: str


# Weights are starting points that make the terms of like size, not results of a search.
PRESETS: dict[str, Preset] = {
    "cross_modal_distillation": Preset(
        "perceiver", "answer+kd", "answers as the receiver that reads the text"
    ),
    "mine": Preset("perceiver", "answer+0.1*mine", "raises mutual information with the text"),
    "contrastive": Preset("perceiver", "answer+0.1*infonce", "tells texts of a batch apart"),
    "domain_adversarial": Preset(
        "perceiver", "answer+0.1*domain", "soft tokens pass for real embeddings"
    ),
    "information_bottleneck": Preset(
        "perceiver", "answer+0.01*vib", "noise on the message, a price for what it tells"
    ),
    "moment_matching": Preset(
        "perceiver", "answer+0.1*norm+0.1*moments", "statistics of real embeddings"
    ),
    "diverse": Preset("perceiver", "answer+0.1*diversity", "soft tokens that differ"),
    "autoencoder": Preset("perceiver", "reconstruction", "the receiver writes the text back"),
}


def get_preset(name: str) -> Preset:
    """The preset of that name. Raises: UnknownNameError with the nearest name."""
    try:
        return PRESETS[name.strip().lower()]
    except KeyError:
        raise UnknownNameError.of("preset", name, PRESETS) from None
