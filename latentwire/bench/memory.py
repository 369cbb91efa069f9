"""How much memory a wire takes: weights, and what answering needs beside them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from latentwire.bench.lower_bounds import device_name
from latentwire.bench.subject import Subject
from latentwire.bench.synthetic import examples_of_length
from latentwire.bench.throughput import answer
from latentwire.core.errors import UsageError
from latentwire.core.provenance import describe_environment

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measure_memory(open_it: Callable[[], Subject], *, batch_size: int = 16) -> dict[str, Any]:
    """Load a wire and let it answer, in a process that has done nothing else.

    On a GPU the peak is that of torch's allocator on the devices that hold the models; on a CPU it
    is the resident set of the whole process. Both are measured around loading and, after the
    counter was put back where the system allows it, around answering.

    Args:
        open_it: Loads what is measured: it has to happen in here.
        batch_size: Texts answered at once.
    Returns: What `latentwire bench memory --json` prints; all sizes are bytes. `lower_bound_bytes`
        are the weights.
    Raises: UsageError: If the batch size is below 1.
    """
    if batch_size < 1:
        raise UsageError(f"A batch has at least one text; it was given {batch_size}.")
    before = _resident()
    subject = open_it()
    devices = sorted({lm.device for lm in subject.lms}, key=str)
    on_gpu = [device for device in devices if device.type == "cuda"]
    weights = n_weight_bytes(subject)
    loading = _peak(on_gpu)
    wire = subject.exact()
    examples = examples_of_length(
        subject.task, wire.sender.lm, 2 * batch_size, subject.input_tokens
    )
    loaded = _now(on_gpu)
    was_reset = _reset(on_gpu)
    answer(wire, examples[:batch_size])
    answer(wire, examples[batch_size:])
    peak = _peak(on_gpu)
    start = 0 if on_gpu else before
    return {
        "benchmark": "memory",
        **subject.describe(),
        "device": ", ".join(device_name(device) for device in devices),
        "measured": "allocator" if on_gpu else "resident set",
        "batch_size": batch_size,
        "start_bytes": start,
        "weights_bytes": weights,
        "lower_bound_bytes": weights,
        "loaded_bytes": loaded,
        "loading_peak_bytes": loading,
        "peak_bytes": peak,
        "peak_is_of_answering": was_reset,
        "activations_bytes": max(peak - loaded, 0),
        "peak_over_weights": peak / weights,
        "ratio_to_lower_bound": peak / weights,
        "without_start_over_weights": (peak - start) / weights,
        "environment": describe_environment(),
    }


def n_weight_bytes(subject: Subject) -> int:
    """Bytes of all weights and buffers; a tensor that two modules share counts once."""
    modules = [*(lm.model for lm in subject.lms), subject.wire.bridge]
    tensors = [each for m in modules for each in (*m.parameters(), *m.buffers())]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


def _resident() -> int:
    return _status("VmRSS") or _highest()


def _now(on_gpu: list[torch.device]) -> int:
    return sum(map(torch.cuda.memory_allocated, on_gpu)) if on_gpu else _resident()


def _peak(on_gpu: list[torch.device]) -> int:
    if on_gpu:
        return sum(map(torch.cuda.max_memory_allocated, on_gpu))
    return _status("VmHWM") or _highest()


def _reset(on_gpu: list[torch.device]) -> bool:
    """Put the peak counter back to what is held now, and say whether that was possible."""
    for device in on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    if on_gpu:
        return True
    try:
        _CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then that of the whole process
        return False
    return True


def _status(key: str) -> int | None:
    """A size that Linux tells about this process, in bytes."""
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _highest() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
