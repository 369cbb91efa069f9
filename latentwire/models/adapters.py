"""Add low-rank adapters (peft) to a frozen model inside a context manager."""

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
    """Configuration of adapters.

    Args:
        rank: Rank of each update, >= 1.
        alpha: Scale of the updates: each is multiplied by alpha / rank.
        dora: Whether to learn direction and magnitude of the weights separately (DoRA).
        seed: Random seed of the initial weights; all updates are initially zero.
    """

    rank: int = 8
    alpha: int = 16
    dora: bool = False
    seed: int = 0


class Adapters(nn.Module):
    """Trainable parameters of a model's adapters, shared with the layers of the model.

    Args:
        parameters: Parameters by name.
        layers: Layers that have an adapter. Their own weights are neither trained nor saved.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], layers: Sequence[Any]) -> None:
        super().__init__()
        # ParameterDict does not allow dots in names.
        self.values = nn.ParameterDict({k.replace(".", "/"): v for k, v in parameters.items()})
        self._layers = tuple(layers)  # modules in a tuple are not registered as submodules

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Merge the updates into the weights, so that a pass costs the same as without adapters.

        The merged weights are new tensors in the model's dtype. The original weights stay in
        memory and are restored at the end of the context. For inference only: adapters get no
        gradients.
        """
        plain = [layer.get_base_layer().weight.data for layer in self._layers]
        try:
            with torch.no_grad():
                for layer in self._layers:
                    layer.merge(safe_merge=True)  # a plain merge overwrites the weights
            yield
        finally:
            for layer, weight in zip(self._layers, plain):
                layer.get_base_layer().weight.data = weight
                layer.merged_adapters.clear()


@contextmanager
def adapted(lm: LanguageModel, spec: AdapterSpec) -> Iterator[Adapters]:
    """Add an adapter to every linear layer of the model's blocks, and remove it at the end.

    The weights of the model are neither changed nor copied. Keys and values that were computed
    outside the context are not valid inside it.

    Yields: The parameters of the adapters, with gradients.
    Source: Hu et al. 2021, LoRA, arXiv:2106.09685; Liu et al. 2024, DoRA, arXiv:2402.09353.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    assert lm.fingerprint  # computed and cached now, from the model without adapters
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
    """Restore the original layers."""
    for name, module in list(model.named_modules()):
        if isinstance(module, adapter):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    for leftover in ("peft_config", "peft_type"):
        if hasattr(model, leftover):
            delattr(model, leftover)
    model.requires_grad_(False)
