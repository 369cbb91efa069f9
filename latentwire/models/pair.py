"""The two models of a wire."""

from __future__ import annotations

from latentwire.core.progress import Progress
from latentwire.models.lm import LanguageModel
from latentwire.models.loading import load_model
from latentwire.models.zoo import resolve_pair


def default_layer(n_layers: int) -> int:
    """The layer a wire reads unless told: at three tenths of the depth, 1 or more (docs/LOG.md)."""
    return max(round(n_layers * 0.3), 1)


def load_pair(
    sender: str | LanguageModel | None,
    receiver: str | LanguageModel | None,
    *,
    pair: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> tuple[LanguageModel, LanguageModel]:
    """Both models; one that is named twice is loaded once."""
    names = resolve_pair(
        pair,
        sender if isinstance(sender, str) else None,
        receiver if isinstance(receiver, str) else None,
    )
    loaded: dict[str, LanguageModel] = {}

    def get(model: str | LanguageModel | None, name: str) -> LanguageModel:
        if isinstance(model, LanguageModel):
            return model
        if name not in loaded:
            loaded[name] = load_model(name, device=device, dtype=dtype, progress=progress)
        return loaded[name]

    return get(sender, names[0]), get(receiver, names[1])
