"""Tests that every bridge passes."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from latentwire.bridge import BRIDGES, AlignedSpans, Bridge, InitialPrefix, PairFacts, build_bridge
from latentwire.bridge.saving import bridge_fingerprint, load_bridge, save_bridge
from latentwire.core.errors import BridgeError, ConfigError, ShapeError

L, T, DS, DR, K = 2, 7, 16, 24, 3
pytestmark = pytest.mark.parametrize("kind", BRIDGES.names())


# Documented exceptions: bridges whose soft tokens are not normalized, are not initialized near the
# anchors, or do not depend on the seed.
WITHOUT_LENGTH = {"vocab"}
IN_UNITS_OF_HEADS = {"deep_prefix"}
WITHOUT_ANCHORS = {"identity", "ridge"}
WITHOUT_SEED = {"identity"}
OWN_LOSSES = {"diffusion": {"denoising"}, "flow_matching": {"flow"}, "moe": {"balance"}}


def _bridge(kind: str, seed: int = 0, n_layers: int = L) -> Bridge:
    return build_bridge(
        kind, n_layers=n_layers, sender_width=DS, receiver_width=DR, soft_tokens=K, seed=seed
    )


def _batch(n_layers: int = L, t: int = T) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(4, t, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2, 1:] = False
    return torch.randn(4, n_layers, t, DS), mask


def _facts() -> PairFacts:
    torch.manual_seed(3)
    states = torch.randn(50, L, DS)
    return PairFacts(
        state_mean=torch.randn(L, DS),
        state_std=torch.rand(L, DS) + 0.5,
        embedding_rms=2.5,
        anchors=2.5 * torch.randn(K, DR),
        embeddings=2.5 * torch.randn(5000, DR),
        spans=AlignedSpans(states, states.flatten(1) @ torch.randn(L * DS, DR)),
        prefix=_prefix(),
    )


def _prefix() -> InitialPrefix:
    scale = torch.tensor([0.1, 7.0]).repeat_interleave(DR // 2)
    return InitialPrefix(scale * torch.randn(K, DR), scale)


def _start(kind: str) -> torch.Tensor:
    """Values that the soft tokens of a bridge are initialized with."""
    facts = _facts()
    assert facts.prefix is not None
    return facts.prefix.values if kind in IN_UNITS_OF_HEADS else facts.anchors


def _initialized(kind: str) -> Bridge:
    bridge = _bridge(kind)
    bridge.initialize(_facts())
    return bridge.eval()


def test_bridge_output_has_shape_and_scale_of_embeddings(kind: str) -> None:
    bridge = _initialized(kind)
    soft = bridge(*_batch())
    assert soft.shape == (4, K, DR) and soft.dtype == torch.float32
    rms = soft.pow(2).mean(-1).sqrt()
    if kind in IN_UNITS_OF_HEADS:  # of each head's, and free to grow
        parts = (soft / _prefix().scale).view(4, K, 2, -1).pow(2).mean((0, 1, 3)).sqrt()
        assert ((parts > 0.7) & (parts < 1.5)).all()
    elif kind in WITHOUT_LENGTH:  # a mixture of embeddings is never longer than they are
        facts = _facts()
        assert facts.embeddings is not None
        real = torch.cat([facts.embeddings, facts.anchors]).pow(2).mean(-1).sqrt()
        assert (rms > 0).all() and rms.max() <= real.max() + 1e-4
    else:
        assert torch.allclose(rms, torch.full_like(rms, 2.5), rtol=1e-3)


def test_bridge_starts_near_the_anchors(kind: str) -> None:
    cosine = torch.cosine_similarity(_initialized(kind)(*_batch()), _start(kind), dim=-1)
    assert (cosine.mean() > 0.7) == (kind not in WITHOUT_ANCHORS)


def test_bridge_initialize_refuses_missing_facts(kind: str) -> None:
    bridge = _bridge(kind)
    bare = PairFacts(torch.zeros(L, DS), torch.ones(L, DS), 1.0, torch.randn(K, DR))
    if not bridge.wants:
        bridge.initialize(bare)
        return
    with pytest.raises(ConfigError, match=f"The {kind} bridge needs {min(bridge.wants)}"):
        bridge.initialize(bare)


@pytest.mark.parametrize("n_layers", [1, L])
def test_bridge_gradient_reaches_every_parameter(kind: str, n_layers: int) -> None:
    bridge = _bridge(kind, n_layers=n_layers)
    torch.manual_seed(2)
    (bridge(*_batch(n_layers)) * torch.randn(4, K, DR)).sum().backward()
    still = [n for n, p in bridge.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not still


def test_bridge_accepts_a_single_token(kind: str) -> None:
    bridge = _bridge(kind, n_layers=1)
    soft = bridge(*_batch(n_layers=1, t=1))
    soft.square().sum().backward()
    assert soft.shape == (4, K, DR) and soft.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in bridge.parameters())


def test_bridge_is_deterministic_and_keeps_the_random_state(kind: str) -> None:
    bridge, before = _bridge(kind).eval(), torch.get_rng_state()
    states, mask = _batch()
    torch.set_rng_state(before)
    assert torch.equal(bridge(states, mask), bridge(states, mask))
    assert torch.equal(torch.get_rng_state(), before)


def test_own_losses_are_returned_once(kind: str) -> None:
    bridge = _bridge(kind)
    names = set(bridge.state_dict())
    assert bridge.own_losses() == {}
    bridge(*_batch())
    copied = copy.deepcopy(bridge)  # with unread losses
    assert copied.own_losses() == {} and set(bridge.state_dict()) == names
    own = bridge.own_losses()
    assert set(own) == OWN_LOSSES.get(kind, set())
    for loss in own.values():
        assert loss.shape == () and loss > 0 and loss.requires_grad
        reached = torch.autograd.grad(loss, list(bridge.parameters()), allow_unused=True)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in reached)
    assert bridge.own_losses() == {}
    bridge(*_batch())
    assert bridge.eval().own_losses() == {}
    bridge.train()(*_batch())
    bridge.eval()(*_batch())  # forgets what the pass before it left
    assert bridge.train().own_losses() == {}


def test_bridge_output_does_not_depend_on_padding(kind: str) -> None:
    bridge = _initialized(kind)
    states, mask = _batch()
    clean = bridge(states, mask)
    dirty = states.masked_fill(~mask[:, None, :, None], float("inf"))
    assert torch.equal(bridge(dirty, mask), clean)
    exact = bridge.double()  # so that only a token too many can make a difference
    alone = exact(states[1:2, :, :4], mask[1:2, :4])
    assert torch.allclose(alone, exact(dirty, mask)[1:2], atol=1e-9)


def test_bridge_output_depends_on_the_text(kind: str) -> None:
    soft = _initialized(kind)(*_batch())
    assert (soft[0] - soft[1]).abs().max() > 1e-3


def test_load_bridge_restores_identical_weights(kind: str, tmp_path: Path) -> None:
    bridge = _initialized(kind)
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


def test_save_bridge_stores_every_option(kind: str, tmp_path: Path) -> None:
    save_bridge(_bridge(kind), {}, {"sender": {}, "receiver": {}}, tmp_path / "b")
    path = tmp_path / "b" / "config.json"
    config = json.loads(path.read_text())
    assert config["options"] == BRIDGES.get(kind).options()
    path.write_text(json.dumps({**config, "options": {}}))  # as saved by earlier versions
    assert bridge_fingerprint(load_bridge(tmp_path / "b")[0]) == bridge_fingerprint(_bridge(kind))


def test_build_bridge_seed_determines_the_weights(kind: str) -> None:
    assert bridge_fingerprint(_bridge(kind)) == bridge_fingerprint(_bridge(kind))
    other = bridge_fingerprint(_bridge(kind, seed=1))
    assert (bridge_fingerprint(_bridge(kind)) == other) == (kind in WITHOUT_SEED)


def test_bridge_refuses_states_of_wrong_shape(kind: str) -> None:
    with pytest.raises(ShapeError, match=rf"expects states of shape \(b, {L}, t, {DS}\)"):
        _bridge(kind)(torch.zeros(1, L, T, DS + 1), torch.ones(1, T, dtype=torch.bool))


def test_load_bridge_refuses_damaged_and_other_folders(kind: str, tmp_path: Path) -> None:
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
    with pytest.raises(BridgeError, match="do not match its config"):
        load_bridge(folder)
    config.write_text("{}")
    with pytest.raises(BridgeError, match="not a LatentWire bridge"):
        load_bridge(folder)
