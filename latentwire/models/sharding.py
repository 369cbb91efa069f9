"""A frozen model that no single device holds: its blocks are spread over several processes."""

from __future__ import annotations

import torch

from latentwire.core.progress import Progress
from latentwire.models.lm import LanguageModel
from latentwire.models.loading import load_model, pick_device, pick_dtype
from latentwire.models.sender import decoder_blocks


def load_for_sharding(
    name: str, *, device: str = "auto", dtype: str = "auto", progress: Progress | None = None
) -> LanguageModel:
    """Load a model into main memory, from where `shard_blocks` takes it block by block.

    Args:
        name: As for `load_model`.
        device: Where it will be used; decides what `auto` is as a dtype.
        dtype: As for `load_model`.
        progress: As for `load_model`.
    Raises: As `load_model` does.
    """
    if dtype == "auto":
        dtype = str(pick_dtype(dtype, pick_device(device))).removeprefix("torch.")
    return load_model(name, device="cpu", dtype=dtype, progress=progress)


def shard_blocks(lm: LanguageModel, device: torch.device) -> None:
    """Leave each process its part of every block's weights, and move the model to `device`.

    A block's weights are gathered just before it runs, forward and backward, and dropped behind
    it, so a device holds its share of all blocks and one or two whole ones. Embeddings, final
    norm and head stay whole everywhere: they are read by themselves as well. Gradients pass
    through to what the model reads; the weights have none.

    All processes must call it, and from then on run every pass of the model together: as many
    passes, in the same order, with rows of their own. The weights are the same bits as before.

    Args:
        lm: The frozen model; changed in place. One that is sharded already is left alone.
        device: This process's, where the processes exchange tensors.
    Source: Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277 (here FSDP2, one group a block).
    """
    if lm.is_sharded:
        return
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    assert lm.fingerprint  # kept from now on: it is read from whole weights
    base = lm.model.base_model
    blocks = decoder_blocks(base, lm.name)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    inside = {id(module) for block in blocks for module in block.modules()}
    outside = [module for module in base.modules() if id(module) not in inside]
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    lm.model.to(device)
    whole = {weight for module in outside for weight in module.parameters(recurse=False)}
    # The root has no weights of its own: it lets a block be gathered while another one runs.
    fully_shard(base, mesh=mesh, ignored_params=whole)
    lm.model.blocks_are_sharded = True
    # The first pass makes the tensors that gathered weights lie in. Were it in inference mode, no
    # later pass with gradients could use them.
    with torch.no_grad():
        base(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
