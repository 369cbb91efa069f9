"""Bridges check their options and what `mix` returns."""

from __future__ import annotations

import pytest
import torch

from latentwire.bridge import Bridge, build_bridge
from latentwire.core.errors import ConfigError, ShapeError


def _bridge(**options: object) -> Bridge:
    sizes = {"n_layers": 1, "sender_width": 8, "receiver_width": 6, "soft_tokens": 2}
    return build_bridge("linear", **sizes, **options)


def test_bridge_refuses_an_option_of_another_type() -> None:
    with pytest.raises(ConfigError, match="option rank is 'big'; it must be of type int, such as"):
        _bridge(rank="big")


def test_bridge_names_a_wrong_shape_of_mix() -> None:
    bridge = _bridge()
    bridge.mix = lambda x, mask: torch.zeros(len(x), 1, 1)  # type: ignore[method-assign]
    with pytest.raises(ShapeError, match=r"`mix` of the bridge 'linear' returned \(3, 1, 1\)"):
        bridge(torch.zeros(3, 1, 5, 8), torch.ones(3, 5, dtype=torch.bool))
