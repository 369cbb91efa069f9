"""Sharding: divide the blocks of a frozen model among processes, for models larger than a GPU."""

from __future__ import annotations

import torch

from latentwire.core.progress import Progress
from latentwire.models.lm import LanguageModel
from latentwire.models.loading import load_model, pick_device, pick_dtype


def load_for_sharding(
    name: str, *, device: str = "auto", dtype: str = "auto", progress: Progress | None = None
) -> LanguageModel:
    """Load a model into main memory; `shard_blocks` then moves it to the devices.

    Args:
        name: Model name as in `load_model`.
        device: Device on which the model will run; it determines the dtype for `auto`.
        dtype: Dtype as in `load_model`.
        progress: Receives progress reports of slow conversions.
    Raises: The errors of `load_model`.
    """
    if dtype == "auto":
        dtype = str(pick_dtype(dtype, pick_device(device))).removeprefix("torch.")
    return load_model(name, device="cpu", dtype=dtype, progress=progress)


def shard_blocks(lm: LanguageModel, device: torch.device) -> None:
    """Keep one shard of the weights of every block in each process; move the model to `device`.

    The weights of a block are gathered before it runs, forward and backward, and freed after it,
    so that a device holds its shard of all blocks and one or two complete blocks. Embeddings,
    final norm and head are complete in every process, because they are also used on their own.
    Gradients flow to the inputs of the model, not to its weights.

    All processes must call this function, and must run every later pass of the model together:
    the same number of passes in the same order, each with its own rows. The values of the weights
    do not change.

    Args:
        lm: Frozen model, changed in place, unless it is already sharded.
        device: Device of this process.
    Source: Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277 (here FSDP2, one group per block).
    """
    if lm.is_sharded:
        return
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    assert lm.fingerprint  # computed and cached now, because it needs complete weights
    base, blocks = lm.architecture.decoder, lm.architecture.blocks
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    inside = {id(module) for block in blocks for module in block.modules()}
    outside = [module for module in base.modules() if id(module) not in inside]
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    lm.model.to(device)
    whole = {weight for module in outside for weight in module.parameters(recurse=False)}
    # The root holds no weights. It allows gathering one block while another one runs.
    fully_shard(base, mesh=mesh, ignored_params=whole)
    lm.model.blocks_are_sharded = True
    # The first pass allocates the tensors of gathered weights. If it ran in inference mode, later
    # passes with gradients could not use them.
    with torch.no_grad():
        base(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
