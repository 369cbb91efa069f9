"""Lower bounds of the time of forward passes, from the measured rates of a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentwire.bench.stopwatch import milliseconds
from latentwire.models import LanguageModel
from latentwire.wire.wire import Wire

_SIDES = (512, 1024, 2048, 4096, 8192)  # of square matrices; ends once a product takes _LONG_MS
_LONG_MS = 250.0
_BUFFER, _BUFFER_GPU = 1 << 28, 1 << 30  # bytes, larger than every cache
_REPEATS = 5


@dataclass(frozen=True)
class PassCost:
    """Minimum work of one forward pass through some weights.

    Args:
        operations: Number of multiplications and additions in matrix products with weights.
            Attention is not counted, so that the bound stays a lower bound.
        n_bytes: Size of the weights, each of which is read once.
    """

    operations: float
    n_bytes: float


@dataclass(frozen=True)
class DeviceRates:
    """Peak rates of a device, measured in this process.

    Args:
        device: Name of the device.
        dtype: Dtype of the numbers.
        operations_per_s: Rate of the fastest square matrix product.
        bytes_per_s: Rate of the fastest read or copy of a large buffer.
    """

    device: str
    dtype: str
    operations_per_s: float
    bytes_per_s: float

    def lower_bound_ms(self, passes: Iterable[PassCost]) -> float:
        """Return the lower bound for consecutive passes: each takes the longer of both times."""
        return 1000 * sum(
            max(p.operations / self.operations_per_s, p.n_bytes / self.bytes_per_s) for p in passes
        )

    def or_faster(self, other: DeviceRates) -> DeviceRates:
        """Return the higher of both measurements, for each rate."""
        return DeviceRates(
            self.device,
            self.dtype,
            max(self.operations_per_s, other.operations_per_s),
            max(self.bytes_per_s, other.bytes_per_s),
        )


def measure_device_rates(device: torch.device, dtype: torch.dtype) -> DeviceRates:
    """Measure the matrix-product rate and the memory bandwidth of a device.

    Args:
        device: Device to measure.
        dtype: Dtype of the numbers.
    """
    return DeviceRates(
        device_name(device),
        str(dtype).removeprefix("torch."),
        _operations_per_s(device, dtype),
        _bytes_per_s(device, dtype),
    )


def device_name(device: torch.device) -> str:
    """Return the name of a device for results, with the model of a GPU."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return str(device)


@torch.inference_mode()
def _operations_per_s(device: torch.device, dtype: torch.dtype) -> float:
    fastest = 0.0
    for side in _SIDES:
        a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
        ms = _least(partial(torch.matmul, a, b))
        fastest = max(fastest, 2 * side**3 / ms)
        if ms > _LONG_MS:
            break
    return fastest * 1000


@torch.inference_mode()
def _bytes_per_s(device: torch.device, dtype: torch.dtype) -> float:
    n_bytes = _BUFFER if device.type == "cpu" else _BUFFER_GPU
    rows = n_bytes // dtype.itemsize // 4096
    matrix = torch.ones(rows, 4096, dtype=dtype, device=device)
    vector, other = matrix[0].clone(), torch.empty_like(matrix)
    ways: list[tuple[int, Callable[[], object]]] = [
        (n_bytes, lambda: matrix @ vector),  # as when a model writes one token
        (n_bytes, lambda: matrix.amax()),
        (2 * n_bytes, lambda: other.copy_(matrix)),
    ]
    return 1000 * max(size / _least(work) for size, work in ways)


def _least(work: Callable[[], object]) -> float:
    """Return the milliseconds of the fastest run after a warm-up."""
    work()
    return min(milliseconds(work) for _ in range(_REPEATS))


def model_pass(
    lm: LanguageModel, n_layers: int, n_rows: int, n_tokens: int, *, head: bool = False
) -> PassCost:
    """Return the cost of a forward pass through the first blocks of a model.

    Args:
        lm: Model.
        n_layers: Number of blocks.
        n_rows: Number of rows of the batch.
        n_tokens: Number of new tokens per row.
        head: Whether to add the logits of the last token of each row over the vocabulary.
    """
    blocks = lm.architecture.blocks[:n_layers]
    made = module_pass(blocks, n_rows * n_tokens)
    if not head:
        return made
    last = module_pass(lm.architecture.head, n_rows)
    return PassCost(made.operations + last.operations, made.n_bytes + last.n_bytes)


def module_pass(module: nn.Module, n_vectors: int) -> PassCost:
    """Return the cost of multiplying `n_vectors` vectors by every matrix of a module."""
    matrices = [p for p in module.parameters() if p.dim() >= 2]
    values = sum(p.numel() for p in matrices)
    n_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    return PassCost(2.0 * values * n_vectors, float(n_bytes))


def counted_pass(module: nn.Module, *inputs: Tensor) -> PassCost:
    """Return the cost of a call of any module, with the operations counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    # The counter needs gradients to attribute operations to modules.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    n_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    return PassCost(float(counter.get_total_flops()), float(n_bytes))


def written_passes(lm: LanguageModel, n_rows: int, n_written: int) -> list[PassCost]:
    """Return the passes that write an answer after its prompt: one per token after the first."""
    return [model_pass(lm, lm.n_layers, n_rows, 1, head=True)] * max(n_written - 1, 0)


def bridge_passes(
    wire: Wire, n_rows: int, n_sender: int, n_receiver: int, bridge: PassCost
) -> list[PassCost]:
    """Return the passes of an answer through the bridge.

    Args:
        wire: Wire with sender, bridge and receiver.
        n_rows: Number of texts in the batch.
        n_sender: Number of tokens per text.
        n_receiver: Number of receiver tokens per text after the cached prompt start: soft tokens,
            question and answer.
        bridge: Cost of the bridge module.
    """
    sender, receiver = wire.sender.lm, wire.receiver.lm
    return [
        model_pass(sender, max(wire.spec.layers), n_rows, n_sender),
        bridge,
        model_pass(receiver, receiver.n_layers, n_rows, n_receiver),
    ]


def relay_passes(
    wire: Wire, n_rows: int, n_sender: int, n_written: int, n_receiver: int
) -> list[PassCost]:
    """Return the passes of a text relay: the sender reads and writes, the receiver reads.

    Args:
        wire: Wire with sender and receiver.
        n_rows: Number of texts in the batch.
        n_sender: Number of tokens of the sender's prompt after its cached start.
        n_written: Number of tokens that the sender writes.
        n_receiver: Number of tokens that the receiver reads after its cached prompt start.
    """
    sender, receiver = wire.sender.lm, wire.receiver.lm
    first = model_pass(sender, sender.n_layers, n_rows, n_sender, head=True)
    steps = written_passes(sender, n_rows, n_written)
    reads = model_pass(receiver, receiver.n_layers, n_rows, n_receiver)
    return [first, *steps, reads]
