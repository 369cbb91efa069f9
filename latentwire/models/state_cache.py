"""Cache of sender states on disk, so that the sender runs only once per text."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latentwire.core.files import cache_dir, fingerprint, replacing_file
from latentwire.core.progress import Progress
from latentwire.models.sender import Sender, SenderStates

_FORMAT = 1
_SHARD_TEXTS = 256


class StateCache:
    """States of one sender at fixed layers, keyed by its input text (prompt included).

    A cache is a folder of shards. A shard is a safetensors file that holds the states of its
    texts one after another; its header lists keys and lengths. Shards are written atomically.
    Several processes may fill a folder; at worst, a text is stored twice.

    Args:
        sender: Sender that computes missing states.
        layers: Layers to store, in this order.
        root: Folder of all caches; default: `states` in LatentWire's cache folder.
    """

    def __init__(self, sender: Sender, layers: Sequence[int], root: Path | None = None) -> None:
        self.sender = sender
        self.layers = sender.check_layers(layers)
        lm = sender.lm
        name = fingerprint(_FORMAT, lm.fingerprint, self.layers, str(lm.dtype))
        self.folder = (root or cache_dir() / "states") / name
        self._index: dict[str, tuple[Any, int, int]] = {}
        self._opened: set[Path] = set()
        self.refresh()

    def refresh(self) -> None:
        """Open shards that other processes have written since."""
        for shard in sorted(self.folder.glob("*.safetensors")):
            if shard not in self._opened:
                self._open(shard)

    def ensure(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 16,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Compute and store the states of texts that are not in the cache.

        Args:
            texts: Input texts of the sender.
            batch_size: Maximum number of texts per forward pass.
            progress: Receives a progress report after each batch.
            stop: Called after each batch; if it returns True, the states computed so far are
                stored and the rest is skipped.
        Returns: Number of texts whose states were computed.
        """
        missing = list(dict.fromkeys(text for text in texts if state_key(text) not in self._index))
        if not missing:
            return 0
        with (progress or Progress()).task("sender states", len(missing)) as bar:
            keys: list[str] = []
            rows: list[Tensor] = []
            n_done = 0
            batches = self.sender.encode_batches(missing, self.layers, batch_size=batch_size)
            for index, batch in batches:
                for i, states, mask in zip(index, batch.states, batch.mask):
                    keys.append(state_key(missing[i]))
                    rows.append(states[:, mask].cpu())
                if len(keys) >= _SHARD_TEXTS:
                    self._write(keys, rows)
                    keys, rows = [], []
                n_done += len(index)
                bar.advance(len(index))
                if stop():
                    break
            if keys:
                self._write(keys, rows)
        return n_done

    def states(self, texts: Sequence[str]) -> SenderStates:
        """Return the states of texts in the cache as one right-padded batch."""
        return self.states_of([state_key(text) for text in texts])

    def states_of(self, keys: Sequence[str]) -> SenderStates:
        """Return the states of texts given by their `state_key`."""
        rows = []
        for key in keys:
            shard, start, length = self._index[key]
            rows.append(shard[:, start : start + length])
        device = self.sender.lm.device
        batch = SenderStates.stack(rows)
        return SenderStates(batch.states.to(device), batch.mask.to(device))

    def _write(self, keys: list[str], rows: list[Tensor]) -> None:
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        lengths = [row.shape[1] for row in rows]
        header = {"keys": json.dumps(keys), "lengths": json.dumps(lengths)}
        with replacing_file(path) as temporary:
            save_file({"states": torch.cat(rows, dim=1).contiguous()}, temporary, header)
        self._open(path)

    def _open(self, path: Path) -> None:
        self._opened.add(path)
        try:
            shard = safe_open(path, "pt")
            header = shard.metadata() or {}  # type: ignore[no-untyped-call]
            keys, lengths = json.loads(header["keys"]), json.loads(header["lengths"])
            states = shard.get_slice("states")  # type: ignore[no-untyped-call]
        except (SafetensorError, KeyError, ValueError, OSError):
            path.unlink(missing_ok=True)  # damaged: its texts are computed again
            return
        start = 0
        for key, length in zip(keys, lengths):
            self._index[key] = (states, start, length)
            start += length


def state_key(text: str) -> str:
    """Return the cache key of a text, 32 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
