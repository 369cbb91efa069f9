"""One suite over every kind of bridge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from latentwire.bridge import BRIDGES, Bridge, Calibration, build_bridge
from latentwire.bridge.saving import bridge_fingerprint, load_bridge, save_bridge
from latentwire.errors import BridgeError, ShapeError

L, T, DS, DR, K = 2, 7, 16, 24, 3
pytestmark = pytest.mark.parametrize("kind", BRIDGES.names())


def _bridge(kind: str, seed: int = 0) -> Bridge:
    return build_bridge(
        kind, n_layers=L, sender_width=DS, receiver_width=DR, soft_tokens=K, seed=seed
    )


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(4, T, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2, 1:] = False
    return torch.randn(4, L, T, DS), mask


def test_shape_and_scale(kind: str) -> None:
    bridge = _bridge(kind)
    bridge.calibrate(Calibration(torch.zeros(L, DS), torch.ones(L, DS), 2.5, torch.randn(K, DR)))
    soft = bridge(*_batch())
    assert soft.shape == (4, K, DR)
    rms = soft.pow(2).mean(-1).sqrt()
    assert torch.allclose(rms, torch.full_like(rms, 2.5), rtol=1e-3)


def test_gradient_reaches_every_parameter(kind: str) -> None:
    bridge = _bridge(kind)
    torch.manual_seed(2)
    (bridge(*_batch()) * torch.randn(4, K, DR)).sum().backward()
    still = [n for n, p in bridge.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not still


def test_padding_does_not_change_the_answer(kind: str) -> None:
    bridge = _bridge(kind).eval()
    states, mask = _batch()
    clean = bridge(states, mask)
    dirty = states.masked_fill(~mask[:, None, :, None], float("inf"))
    assert torch.equal(bridge(dirty, mask), clean)
    alone = bridge(states[1:2, :, :4], mask[1:2, :4])
    assert torch.allclose(alone, clean[1:2], atol=1e-5)


def test_the_message_depends_on_the_text(kind: str) -> None:
    soft = _bridge(kind).eval()(*_batch())
    assert (soft[0] - soft[1]).abs().max() > 1e-3


def test_save_and_load_are_bit_equal(kind: str, tmp_path: Path) -> None:
    bridge = _bridge(kind).eval()
    save_bridge(bridge, {}, {"sender": {}, "receiver": {}}, tmp_path / "b")
    again, config = load_bridge(tmp_path / "b")
    assert config["kind"] == kind
    assert torch.equal(again(*_batch()), bridge(*_batch()))
    assert bridge_fingerprint(again) == bridge_fingerprint(bridge)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_seed_decides_the_weights(kind: str) -> None:
    assert bridge_fingerprint(_bridge(kind)) == bridge_fingerprint(_bridge(kind))
    assert bridge_fingerprint(_bridge(kind)) != bridge_fingerprint(_bridge(kind, seed=1))


def test_wrong_states_are_refused(kind: str) -> None:
    with pytest.raises(ShapeError, match=rf"reads states \(b, {L}, t, {DS}\)"):
        _bridge(kind)(torch.zeros(1, L, T, DS + 1), torch.ones(1, T, dtype=torch.bool))


def test_damaged_and_foreign_folders(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    with pytest.raises(BridgeError, match="No bridge in"):
        load_bridge(folder)
    save_bridge(_bridge(kind), {}, {"sender": {}, "receiver": {}}, folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    good = weights.read_bytes(), json.loads(config.read_text())
    weights.write_bytes(good[0][:-1])
    with pytest.raises(BridgeError, match="damaged"):
        load_bridge(folder)
    weights.write_bytes(good[0])
    config.write_text(json.dumps({**good[1], "format": 99}))
    with pytest.raises(BridgeError, match="format 99"):
        load_bridge(folder)
    config.write_text(json.dumps({**good[1], "sizes": {**good[1]["sizes"], "soft_tokens": 9}}))
    with pytest.raises(BridgeError, match="does not fit"):
        load_bridge(folder)
    config.write_text("{}")
    with pytest.raises(BridgeError, match="not a LatentWire bridge"):
        load_bridge(folder)
