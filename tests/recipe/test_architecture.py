"""A model family can be added with one class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from latentwire import Wire
from latentwire.core.errors import ModelError
from latentwire.models import MESSAGE_MARK, LanguageModel, Receiver, Sender, load_model
from latentwire.models.architecture import ARCHITECTURES, Architecture, architecture_of

TEXTS = ["it barks", "it purrs all day long on the sofa", "?"]


class TowerConfig(LlamaConfig):
    model_type = "tower"


class TowerModel(LlamaModel):
    """A Llama whose blocks are in `tower.floors`, next to another list of modules."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        tower = nn.Module()
        tower.floors = self._modules.pop("layers")
        tower.stairs = nn.ModuleList([nn.Identity()])
        self.tower = tower

    @property
    def layers(self) -> Any:
        return self.tower.floors


class TowerForCausalLM(LlamaForCausalLM):
    config_class = TowerConfig

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.model = TowerModel(config)


def _tower() -> LanguageModel:
    """Return a tower with the weights of the fake Llama."""
    llama = load_model("fake-llama")
    model = TowerForCausalLM(TowerConfig(**llama.config.to_dict() | {"model_type": "tower"}))
    weights = llama.model.state_dict()
    model.load_state_dict({k.replace(".layers.", ".tower.floors."): v for k, v in weights.items()})
    return LanguageModel("tower", model, llama.tokenizer)


@pytest.fixture
def family() -> Iterator[None]:
    @ARCHITECTURES.add("tower")
    class TowerArchitecture(Architecture):
        blocks_path = "tower.floors"

    yield
    del ARCHITECTURES._entries["tower"]


def test_architecture_of_an_unknown_family_is_refused_where_its_blocks_are_needed() -> None:
    with pytest.raises(ModelError, match=r"transformer blocks of 'tower' .*TowerModel.*Architect"):
        Sender(_tower()).encode(TEXTS, (2,))


def test_architecture_is_chosen_by_model_type(family: None) -> None:
    tower, llama = _tower(), load_model("fake-llama")
    assert type(tower.architecture) is ARCHITECTURES.get("tower")
    assert type(llama.architecture) is Architecture
    assert architecture_of(tower.model, "x").n_layers == 4


def test_first_blocks_share_weights_and_leave_the_model_whole(family: None) -> None:
    architecture = _tower().architecture
    view = architecture.first_blocks(2)
    assert len(view.layers) == 2 and len(architecture.blocks) == 4
    assert view.layers[1] is architecture.blocks[1]


def test_sender_and_receiver_work_with_an_added_family(family: None) -> None:
    tower, llama = _tower(), load_model("fake-llama")
    for layers in ((2,), (4, 0)):
        found, expected = (Sender(lm).encode(TEXTS, layers) for lm in (tower, llama))
        assert torch.equal(found.states, expected.states)
    prompts = [tower.prompt(f"Text: {MESSAGE_MARK}{text}\nLabel:", "Text: ") for text in TEXTS]
    choices = [[tower.answer_ids(p, word) for word in ("the big dog", "x")] for p in prompts]
    for reads, width in (("embeddings", 32), ("prefix", 128)):
        both = [Receiver(lm, reads) for lm in (tower, llama)]
        assert both[0].soft_width == width
        soft = torch.randn(3, 4, width)
        found, expected = (r.score_choices(prompts, choices, soft) for r in both)
        assert all(torch.equal(a, b) for a, b in zip(found, expected))
        written, wanted = (r.write(prompts, soft, max_new_tokens=5) for r in both)
        assert written == wanted


def test_wire_with_an_added_family_at_both_ends(family: None) -> None:
    wire = Wire.build(_tower(), _tower(), soft_tokens=4, layer=2)
    assert wire.soft_tokens(wire.sender.encode(TEXTS, (2,))).shape == (3, 4, 32)
