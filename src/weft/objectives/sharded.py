"""What processes that hold one model in shards must do together: every forward pass of it is a meeting of them all."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
import torch.nn.functional as F

from weft.objectives.batch import Batch


def is_sharded(module: torch.nn.Module) -> bool:
    """Whether FSDP2 splits the weights of ``module`` over processes, so that its forward pass is a meeting of them all."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule  # which not every build of torch has

    return isinstance(module, FSDPModule)


def with_as_many_documents_as_any(batch: Batch) -> Batch:
    """``batch`` with documents of one token and no target at its end: as many as that of the process with the most.

    A process with fewer forward passes than another would leave that one waiting in a pass that it never takes.
    """
    most = torch.tensor(len(batch.lengths), device=batch.input_ids.device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    missing = int(most) - len(batch.lengths)
    return replace(
        batch,
        input_ids=F.pad(batch.input_ids, (0, missing)),
        position_ids=F.pad(batch.position_ids, (0, missing)),
        loss_weights=F.pad(batch.loss_weights, (0, missing)),
        lengths=(*batch.lengths, *[1] * missing),
    )
