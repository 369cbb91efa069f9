"""Low-rank adapters (of peft) inside a frozen model, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from latentwire.models.lm import LanguageModel


@dataclass(frozen=True)
class AdapterSpec:
    """Which adapters.

    Args:
        rank: Rank of each update, 1 or more.
        alpha: The update is multiplied by alpha / rank.
        dora: Whether an update changes direction only and magnitudes are learned by themselves.
        seed: Of the first weights; the updates begin at zero.
    """

    rank: int = 8
    alpha: int = 16
    dora: bool = False
    seed: int = 0


class Adapters(nn.Module):
    """The trained values of a model's adapters; the model's layers hold the same parameters.

    Args:
        parameters: The values by name.
        layers: The layers that have an adapter; of them nothing is trained or saved here.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], layers: Sequence[Any]) -> None:
        super().__init__()
        # A dot in a name would be read as a path of modules.
        self.values = nn.ParameterDict({k.replace(".", "/"): v for k, v in parameters.items()})
        self._layers = tuple(layers)  # a tuple: its modules do not become parts of this one

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Inside, the updates are in the weights: a pass costs what the plain model's costs.

        The sums are new tensors, rounded to the model's dtype; the plain weights wait beside them
        and are back afterwards. For answers only: no adapter gets a gradient.
        """
        plain = [layer.get_base_layer().weight.data for layer in self._layers]
        try:
            with torch.no_grad():
                for layer in self._layers:
                    layer.merge(safe_merge=True)  # the other way writes into the plain weights
            yield
        finally:
            for layer, weight in zip(self._layers, plain):
                layer.get_base_layer().weight.data = weight
                layer.merged_adapters.clear()


@contextmanager
def adapted(lm: LanguageModel, spec: AdapterSpec) -> Iterator[Adapters]:
    """Inside, every linear layer of the model's blocks has an adapter; behind it, none is left.

    The model's own weights are neither changed nor copied. What was computed before with the plain
    model (keys and values of a prompt) does not hold inside.

    Args:
        lm: The frozen model.
        spec: Which adapters.
    Yields: Their values, with gradients.
    Source: Hu et al. 2021, LoRA, arXiv:2106.09685; Liu et al. 2024, DoRA, arXiv:2402.09353.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    assert lm.fingerprint  # kept from now on: it is read from the plain model
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        target_modules="all-linear",
        use_dora=spec.dora,
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            inject_adapter_in_model(config, lm.model)
        yield Adapters(
            {n: p for n, p in lm.model.named_parameters() if "lora_" in n},
            [m for m in lm.model.modules() if isinstance(m, BaseTunerLayer)],
        )
    finally:
        _remove(lm.model, BaseTunerLayer)


def _remove(model: nn.Module, adapter: type[Any]) -> None:
    """Put the plain layers back."""
    for name, module in list(model.named_modules()):
        if isinstance(module, adapter):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    for leftover in ("peft_config", "peft_type"):
        if hasattr(model, leftover):
            delattr(model, leftover)
    model.requires_grad_(False)
