"""The sender returns the states of the whole model, without running the layers above them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentwire.core.errors import UsageError
from latentwire.models import Sender, load_model
from latentwire.models.state_cache import StateCache

TEXTS = ["a short text", "a rather longer text than the one before it", "x"]


@pytest.mark.parametrize("name", ["fake-llama", "fake-gemma"])
def test_sender_states_equal_those_of_the_whole_model(name: str) -> None:
    lm = load_model(name)
    got = Sender(lm).encode(TEXTS, (2,), batch_size=3)
    assert got.states.shape[:2] == (3, 1)
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([lm.token_ids(text, special=True)])
        with torch.no_grad():
            whole = lm.model(ids, output_hidden_states=True).hidden_states[2][0]
        assert torch.allclose(got.states[i, 0, got.mask[i]], whole, atol=1e-5)


def test_sender_returns_layers_in_the_given_order() -> None:
    sender = Sender(load_model("fake-llama"))
    several = sender.encode(TEXTS, (3, 0, 1)).states
    for place, layer in enumerate((3, 0, 1)):
        assert torch.allclose(several[:, place], sender.encode(TEXTS, (layer,)).states[:, 0])


def test_sender_does_not_run_layers_above() -> None:
    lm = load_model("fake-llama")
    ran = []
    for i, block in enumerate(lm.model.model.layers):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    Sender(lm).encode(TEXTS, (2,))
    assert set(ran) == {0, 1}


def test_sender_does_not_change_the_model() -> None:
    lm = load_model("fake-gemma")
    before = {k: v.clone() for k, v in lm.model.state_dict().items()}
    Sender(lm).encode(TEXTS, (1,))
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in lm.model.state_dict().items())


def test_sender_refuses_unknown_layers_and_empty_texts() -> None:
    sender = Sender(load_model("fake-llama"))
    with pytest.raises(UsageError, match=r"given: 9. .* has layers 0 \(embeddings\) to 4"):
        sender.encode(TEXTS, (9,))
    with pytest.raises(UsageError, match="empty"):
        sender.encode(["  "], (1,))


def test_state_cache_runs_the_sender_once_per_text(tmp_path: Path) -> None:
    sender = Sender(load_model("fake-llama"))
    cache = StateCache(sender, (2,), tmp_path)
    assert cache.ensure(TEXTS) == 3
    again = StateCache(sender, (2,), tmp_path)
    assert again.ensure([*TEXTS, "new", "new"]) == 1
    fresh = sender.encode(TEXTS, (2,))
    kept = again.states(TEXTS)
    assert torch.equal(kept.mask, fresh.mask)
    assert torch.allclose(kept.states, fresh.states, atol=1e-6)
    assert StateCache(sender, (1,), tmp_path).ensure(TEXTS) == 3


def test_state_cache_recomputes_a_damaged_shard(tmp_path: Path) -> None:
    sender = Sender(load_model("fake-llama"))
    cache = StateCache(sender, (2,), tmp_path)
    cache.ensure(TEXTS)
    (shard,) = cache.folder.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:50])
    assert StateCache(sender, (2,), tmp_path).ensure(TEXTS) == 3
