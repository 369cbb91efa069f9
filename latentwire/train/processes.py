"""Data-parallel training in several processes, started by `accelerate launch` or `torchrun`.

On CPUs use `torchrun`: accelerate's launcher starts only one process there. Both launchers replace
the exit code. To keep exit code 75 of a stopped run, let the scheduler start the processes and set
RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.

Each process holds both frozen models and the whole bridge and takes its slice of each batch. The
bridge's gradients are averaged before each optimizer step. Only the first process writes files.
With `shard_receiver` each process holds a shard of the receiver, and all processes must run the
same forward passes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Processes:
    """The processes of one training run, as seen by one of them. One process by default.

    Args:
        rank: Index of this process, from 0.
        world: Number of processes.
        device: Device of the exchanged tensors.

    Attributes:
        in_lockstep: Whether all processes run the same forward passes, as a sharded receiver needs.
    """

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.world = rank, world
        self.device = device or torch.device("cpu")
        self.in_lockstep = False

    @classmethod
    def join(cls) -> Processes:
        """Join the other processes of the launcher, if there are any, through accelerate.

        Call this before models are loaded: it selects the GPU of this process.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Processes]:
        """Join the other processes inside the block and leave the process group at its end.

        Run a whole command inside: a process that exits without leaving is aborted.
        """
        processes = cls.join()
        try:
            yield processes
        finally:
            if processes.world > 1:
                dist.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.world > 1:
            self.largest(0.0)

    def largest(self, value: float) -> float:
        """Maximum of the value over all processes."""
        return self._reduced([value], dist.ReduceOp.MAX)[0] if self.world > 1 else value

    def total(self, values: Sequence[float]) -> list[float]:
        """Sum of each value over all processes."""
        return self._reduced(values, dist.ReduceOp.SUM) if self.world > 1 else list(values)

    def mean(self, values: Sequence[float]) -> list[float]:
        """Mean of each value over all processes."""
        return [value / self.world for value in self.total(values)]

    def indices(self, n: int) -> range:
        """Indices of the items, out of n, that this process handles; all of them if in lockstep."""
        return range(n) if self.in_lockstep else range(self.rank, n, self.world)

    def sum_over_indices(self, values: Sequence[float]) -> list[float]:
        """Sums over all items, from the sums over the `indices` of each process."""
        return self.mean(values) if self.in_lockstep else self.total(values)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes, in one exchange.

        A parameter without a gradient in any process keeps none, so that the optimizer skips it.
        """
        if self.world == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        flat = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
        here = torch.tensor([p.grad is not None for p in trained], device=flat[0].device)
        packed = torch.cat([*flat, here.to(flat[0].dtype)]).to(self.device)
        dist.all_reduce(packed)
        packed = packed.to(flat[0].device)
        anywhere = packed[-len(trained) :] > 0
        start = 0
        for parameter, has_gradient in zip(trained, anywhere.tolist(), strict=True):
            mean = packed[start : start + parameter.numel()].view_as(parameter) / self.world
            start += parameter.numel()
            parameter.grad = mean if has_gradient else None

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy these tensors of the first process to all processes."""
        if self.world == 1:
            return
        for tensor in tensors:
            sent = tensor.detach().to(self.device).contiguous()
            dist.broadcast(sent, 0)
            tensor.copy_(sent)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of all processes (of equal shapes) on the CPU, in order of rank."""
        if self.world == 1:
            return [tensor.cpu()]
        sent = tensor.to(self.device)
        found = [torch.empty_like(sent) for _ in range(self.world)]
        dist.all_gather(found, sent)
        return [each.cpu() for each in found]

    def _reduced(self, values: Sequence[float], how: dist.ReduceOp.RedOpType) -> list[float]:
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, how)
        return list(tensor.tolist())
