"""Load frozen language models by embedded name, folder, `.gguf` file or hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from latentwire.core.errors import ModelError, UnknownNameError, UsageError
from latentwire.core.hub import hub_is_reachable
from latentwire.core.progress import Progress
from latentwire.models.architecture import ARCHITECTURES
from latentwire.models.gguf import embedded_folder, gguf_folder
from latentwire.models.lm import LanguageModel
from latentwire.models.transformers_compat import quiet_transformers
from latentwire.models.zoo import EMBEDDED, resolve_pair

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str = "auto") -> torch.device:
    """Return the device for a name; `auto` is cuda if available, else mps, else cpu.

    Raises: UsageError: If the name is unknown or the device is not available.
    """
    kind = device.split(":")[0]
    if kind not in DEVICES:
        raise UsageError(f"Unknown device '{device}'. Allowed: {', '.join(DEVICES)}, cuda:N.")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise UsageError(
            f"Device '{device}' is not available to this installation of PyTorch. "
            "Use --device auto, or install a PyTorch build that supports it."
        )
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype for a name; `auto` is bfloat16 on cuda, float16 on mps, else float32.

    Raises: UsageError: If the name is unknown.
    """
    if dtype == "auto":
        dtype = {"cuda": "bfloat16", "mps": "float16"}.get(device.type, "float32")
    if dtype not in DTYPES:
        raise UsageError(f"Unknown dtype '{dtype}'. Allowed: auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def load_model(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> LanguageModel:
    """Load and freeze one model.

    Args:
        name: Embedded name, local folder, `.gguf` file or hub id (`owner/model`).
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        progress: Receives a message when a slow conversion starts.
    Raises:
        UnknownNameError: If the name is none of these.
        MissingPackageError: If an embedded model's package is not installed.
        ModelError: If files are missing or broken, or the hub cannot be reached.
    """
    where = pick_device(device)
    kind = pick_dtype(dtype, where)
    if name.startswith("fake-"):
        from latentwire.models.fake import fake_model

        return fake_model(name)
    source = _source(name, progress)
    model, tokenizer = _read(name, source, kind)
    return LanguageModel(name, model.to(where), tokenizer)


def load_pair(
    sender: str | LanguageModel | None,
    receiver: str | LanguageModel | None,
    *,
    pair: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> tuple[LanguageModel, LanguageModel]:
    """Load sender and receiver; if both have the same name, the model is loaded once.

    Args:
        sender: Name of the sender as in `load_model`, a loaded model, or None for that of `pair`.
        receiver: Name of the receiver, a loaded model, or None for that of `pair`.
        pair: Name of a preset pair; default: `embedded`.
        device: Device as in `load_model`.
        dtype: Dtype as in `load_model`.
        progress: Receives progress reports of slow conversions.
    Raises: The errors of `load_model`, and UnknownNameError if there is no such pair.
    """
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


def _source(name: str, progress: Progress | None) -> str:
    """Return the folder or hub id that transformers loads from."""
    if name.lower() in EMBEDDED:
        return str(embedded_folder(name.lower(), progress))
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"GGUF file not found: {path}.")
        return str(gguf_folder(path, progress))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"The folder {path} is not a model folder: it has no config.json.")
        return str(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise UnknownNameError(
        str(UnknownNameError.of("model", name, EMBEDDED))
        + " Other allowed values: a local folder, a .gguf file, or a hub id like 'owner/model'."
    )


def _read(name: str, source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ARCHITECTURES.names()  # imports installed families, which may register model classes
    # Local folders and downloaded models load without the hub.
    local = Path(source).is_dir() or not hub_is_reachable()
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, local_files_only=local
            )
    except Exception as error:  # transformers raises exceptions of many types
        raise _explain(name, source, error) from error
    if not tokenizer.is_fast:
        raise ModelError(f"'{name}' has no fast tokenizer (tokenizer.json), which is required.")
    return model, tokenizer


def _explain(name: str, source: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:300]
    if Path(source).is_dir():
        return ModelError(f"Cannot read the model in {source}: {reason}")
    return ModelError(
        f"Cannot load '{name}' from the hub: {reason} "
        "Check the id, the network and, for gated models, `hf auth login`. Without a network, use "
        "a local folder or --pair embedded."
    )
