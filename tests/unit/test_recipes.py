"""Which bridge and loss the flags of training name."""

from __future__ import annotations

import pytest

from latentwire.core.errors import UnknownNameError, UsageError
from telepathy.cli.train import bridge_and_loss


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ((None, None, None, None), ("perceiver", "answer")),
        (("linear", None, "kd", None), ("linear", "kd")),
        ((None, "domain_adversarial", None, None), ("perceiver", "answer+0.1*domain")),
        (("domain_adversarial", None, None, None), ("perceiver", "answer+0.1*domain")),
        (("linear", "mine", None, 0.1), ("linear", "answer+0.1*mine+0.1*diversity")),
        ((None, "mine", "answer", 0.0), ("perceiver", "answer")),
        (("perceiver", None, None, 0.1), ("perceiver", "answer+0.1*diversity")),
    ],
)
def test_what_is_given_by_itself_beats_a_preset(
    flags: tuple[str | None, str | None, str | None, float | None], found: tuple[str, str]
) -> None:
    assert bridge_and_loss(*flags) == found


def test_wrong_names_and_weights_are_told() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'perceiver'"):
        bridge_and_loss("percever", None, None, None)
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        bridge_and_loss(None, "mime", None, None)
    with pytest.raises(UsageError, match="must be 0 or more"):
        bridge_and_loss(None, None, None, -1.0)
