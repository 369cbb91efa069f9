"""The least time a piece of work can take on this machine: its work over rates measured here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from latentwire.bench.stopwatch import milliseconds
from latentwire.models import LanguageModel
from latentwire.wire.wire import Wire

_SIDES = (512, 1024, 2048, 4096, 8192)  # of square matrices; larger ones only while they are quick
_LONG_MS = 250.0
_BUFFER, _BUFFER_GPU = 1 << 28, 1 << 30  # bytes, beyond every cache
_REPEATS = 5


@dataclass(frozen=True)
class Pass:
    """Work of one pass through some weights.

    Args:
        operations: Multiplications and additions of matrix products with weights. Those of
            attention are left out, so that a bound stays one.
        n_bytes: Weights that have to be read, once.
    """

    operations: float
    n_bytes: float


@dataclass(frozen=True)
class Machine:
    """How fast a device is, measured in this process.

    Args:
        device: Its name.
        dtype: Type of the numbers.
        operations_per_s: Of the fastest square matrix product.
        bytes_per_s: Of the fastest way through a large buffer.
    """

    device: str
    dtype: str
    operations_per_s: float
    bytes_per_s: float

    def lower_bound_ms(self, passes: Iterable[Pass]) -> float:
        """Milliseconds of passes that follow each other: each takes the longer of both times."""
        return 1000 * sum(
            max(p.operations / self.operations_per_s, p.n_bytes / self.bytes_per_s) for p in passes
        )

    def or_faster(self, other: Machine) -> Machine:
        """The higher of both rates: what a machine has done once it can do."""
        return Machine(
            self.device,
            self.dtype,
            max(self.operations_per_s, other.operations_per_s),
            max(self.bytes_per_s, other.bytes_per_s),
        )


def measure_machine(device: torch.device, dtype: torch.dtype) -> Machine:
    """Measure the matrix-product rate and the memory bandwidth of a device.

    Args:
        device: Where models run.
        dtype: Of their weights.
    """
    return Machine(
        device_name(device),
        str(dtype).removeprefix("torch."),
        _operations_per_s(device, dtype),
        _bytes_per_s(device, dtype),
    )


def device_name(device: torch.device) -> str:
    """What results call a device: the GPU's own name, or cpu."""
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
        (n_bytes, lambda: matrix @ vector),  # what writing a token does with weights
        (n_bytes, lambda: matrix.amax()),
        (2 * n_bytes, lambda: other.copy_(matrix)),
    ]
    return 1000 * max(size / _least(work) for size, work in ways)


def _least(work: Callable[[], object]) -> float:
    """Milliseconds of the fastest of some repeats behind a first one."""
    work()
    return min(milliseconds(work) for _ in range(_REPEATS))


def model_pass(
    lm: LanguageModel, n_layers: int, n_rows: int, n_tokens: int, *, head: bool = False
) -> Pass:
    """A forward pass through the first blocks of a model.

    Args:
        lm: The model.
        n_layers: Blocks that are run.
        n_rows: Rows of the batch.
        n_tokens: New tokens of each row.
        head: Whether logits of the whole vocabulary follow, for the last token of each row.
    """
    blocks = lm.architecture.blocks[:n_layers]
    made = module_pass(blocks, n_rows * n_tokens)
    if not head:
        return made
    last = module_pass(lm.architecture.head, n_rows)
    return Pass(made.operations + last.operations, made.n_bytes + last.n_bytes)


def module_pass(module: nn.Module, n_vectors: int) -> Pass:
    """A pass in which `n_vectors` vectors go through every matrix of a module."""
    matrices = [p for p in module.parameters() if p.dim() >= 2]
    values = sum(p.numel() for p in matrices)
    n_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    return Pass(2.0 * values * n_vectors, float(n_bytes))


def counted_pass(module: nn.Module, *inputs: Tensor) -> Pass:
    """A pass whose operations torch counts while it runs, for modules of any make."""
    from torch.utils.flop_counter import FlopCounterMode

    # The counter follows modules by their gradients.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    n_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    return Pass(float(counter.get_total_flops()), float(n_bytes))


def written_passes(lm: LanguageModel, n_rows: int, n_written: int) -> list[Pass]:
    """Passes that a written answer costs behind its prompt: one for each token but the first."""
    return [model_pass(lm, lm.n_layers, n_rows, 1, head=True)] * max(n_written - 1, 0)


def bridge_passes(
    wire: Wire, n_rows: int, n_sender: int, n_receiver: int, bridge: Pass
) -> list[Pass]:
    """What a bridge's answer cannot do without.

    Args:
        wire: Sender, bridge, receiver.
        n_rows: Texts of the batch.
        n_sender: Tokens of each text.
        n_receiver: Soft tokens, question and answer: what the receiver has not read before.
        bridge: Of the bridge module.
    """
    sender, receiver = wire.sender.lm, wire.receiver.lm
    return [
        model_pass(sender, max(wire.spec.layers), n_rows, n_sender),
        bridge,
        model_pass(receiver, receiver.n_layers, n_rows, n_receiver),
    ]


def relay_passes(
    wire: Wire, n_rows: int, n_sender: int, n_written: int, n_receiver: int
) -> list[Pass]:
    """The same of a text relay: the sender reads, writes token by token, the receiver reads that.

    Args:
        wire: As above.
        n_rows: As above.
        n_sender: Tokens of the sender's prompt that are new.
        n_written: Tokens it writes.
        n_receiver: Tokens the receiver reads.
    """
    sender, receiver = wire.sender.lm, wire.receiver.lm
    first = model_pass(sender, sender.n_layers, n_rows, n_sender, head=True)
    steps = written_passes(sender, n_rows, n_written)
    reads = model_pass(receiver, receiver.n_layers, n_rows, n_receiver)
    return [first, *steps, reads]
