"""Several processes that train one bridge, started by `accelerate launch` or `torchrun`.

On CPUs use `torchrun`: accelerate's own launcher starts one process there. Both launchers end with
a code of their own; where the code 75 of a stopped run matters, let the scheduler start the
processes itself (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are what is needed).

Each process holds both frozen models and the whole bridge, takes its slice of every batch, and
the bridge's gradients are averaged before each optimiser step. Only the first one writes. With
`shard_receiver` each holds a part of the receiver's blocks: they then run all its passes together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Processes:
    """This process among those of one training; alone unless `join` finds others.

    Args:
        rank: Number of this process, 0 is the first.
        world: How many there are.
        device: Where tensors must lie that travel between them.
    """

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.world = rank, world
        self.device = device or torch.device("cpu")
        self.in_step = False  # whether all make the same passes, as a sharded model needs it

    @classmethod
    def join(cls) -> Processes:
        """Meet the other processes that the launcher started, through accelerate.

        Call it before models are loaded: it chooses this process's GPU.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Processes]:
        """Meet the others for as long as the block lasts, and part from them however it ends.

        A command runs all its work inside: a process that ends without parting is aborted.
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
        """Until all are here."""
        if self.world > 1:
            self.largest(0.0)

    def largest(self, value: float) -> float:
        """The largest of all processes' values."""
        return self._reduced([value], dist.ReduceOp.MAX)[0] if self.world > 1 else value

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum over processes of each value."""
        return self._reduced(values, dist.ReduceOp.SUM) if self.world > 1 else list(values)

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean over processes of each value."""
        return [value / self.world for value in self.total(values)]

    def part(self, n: int) -> range:
        """Which of n items this process takes: its share, or all where processes are in step."""
        return range(n) if self.in_step else range(self.rank, n, self.world)

    def sum_of_parts(self, values: Sequence[float]) -> list[float]:
        """Sums over all items from each process's sums over its `part`."""
        return self.mean(values) if self.in_step else self.total(values)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every parameter the mean of all processes' gradients, in one exchange.

        A parameter that got no gradient anywhere keeps none, so that the optimiser passes it over
        as it does in one process.
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
        for parameter, has_gradient in zip(trained, anywhere.tolist()):
            part = packed[start : start + parameter.numel()].view_as(parameter) / self.world
            start += parameter.numel()
            parameter.grad = part if has_gradient else None

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the first one's values of these tensors."""
        if self.world == 1:
            return
        for tensor in tensors:
            travelling = tensor.detach().to(self.device).contiguous()
            dist.broadcast(travelling, 0)
            tensor.copy_(travelling)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Everyone's tensor (equal shapes), in the order of processes, on the CPU."""
        if self.world == 1:
            return [tensor.cpu()]
        travelling = tensor.to(self.device)
        found = [torch.empty_like(travelling) for _ in range(self.world)]
        dist.all_gather(found, travelling)
        return [each.cpu() for each in found]

    def _reduced(self, values: Sequence[float], how: dist.ReduceOp.RedOpType) -> list[float]:
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, how)
        return list(tensor.tolist())
