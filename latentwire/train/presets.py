"""Presets: combinations of a bridge and a loss, named as in papers."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.core.errors import UnknownNameError


@dataclass(frozen=True)
class Preset:
    """A named combination of bridge and loss.

    Args:
        bridge: Name of the bridge.
        loss: Loss it is trained with.
        about: One line of help.
    """

    bridge: str
    loss: str
    about: str


# The weights make the terms similar in size; they were not tuned.
PRESETS: dict[str, Preset] = {
    "cross_modal_distillation": Preset(
        "perceiver", "answer+kd", "imitates the receiver reading the text"
    ),
    "mine": Preset("perceiver", "answer+0.1*mine", "maximizes mutual information with the text"),
    "contrastive": Preset(
        "perceiver", "answer+0.1*infonce", "matches each message to its text in the batch"
    ),
    "domain_adversarial": Preset(
        "perceiver", "answer+0.1*domain", "makes soft tokens look like real embeddings"
    ),
    "information_bottleneck": Preset(
        "perceiver", "answer+0.01*vib", "limits the information in the message"
    ),
    "moment_matching": Preset(
        "perceiver", "answer+0.1*norm+0.1*moments", "matches the statistics of real embeddings"
    ),
    "diverse": Preset(
        "perceiver", "answer+0.1*diversity", "makes the soft tokens of a message differ"
    ),
    "autoencoder": Preset(
        "perceiver", "reconstruction", "trains the receiver to reproduce the text"
    ),
}


def get_preset(name: str) -> Preset:
    """Return the preset with this name. Raises: UnknownNameError: Suggests the nearest name."""
    try:
        return PRESETS[name.strip().lower()]
    except KeyError:
        raise UnknownNameError.of("preset", name, PRESETS) from None
