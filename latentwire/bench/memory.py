"""Memory of a wire: its weights, and the additional memory of answering."""

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
    """Measure the memory of loading a wire and answering two batches.

    The process should have done nothing else before. On a GPU, sizes are those of torch's
    allocator on the devices of the models; on a CPU, the resident set of the whole process. The
    peak is measured for loading and, after a reset where the system allows it, for answering.

    Args:
        open_it: Function that loads the subject, called here so that its memory is measured.
        batch_size: Number of texts per call.
    Returns: The JSON object of `latentwire bench memory --json`. All sizes are in bytes;
        `lower_bound_bytes` is the size of the weights.
    Raises: UsageError: If the batch size is below 1.
    """
    if batch_size < 1:
        raise UsageError(f"The batch size is {batch_size}; it must be 1 or more.")
    before = _resident()
    subject = open_it()
    devices = sorted({lm.device for lm in subject.lms}, key=str)
    on_gpu = [device for device in devices if device.type == "cuda"]
    weights = n_weight_bytes(subject)
    loading = _peak(on_gpu)
    wire = subject.fixed_length_wire()
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
    """Return the size of all weights and buffers; a shared tensor counts once."""
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
    """Reset the peak to the current value; return whether the system allowed it."""
    for device in on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    if on_gpu:
        return True
    try:
        _CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak then includes loading
        return False
    return True


def _status(key: str) -> int | None:
    """Return a memory size from Linux's process status, in bytes."""
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _highest() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
