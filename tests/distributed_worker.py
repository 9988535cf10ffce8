"""One process of tests/test_distributed.py: python distributed_worker.py RANK FOLDER

The processes meet at a file in FOLDER and train every case under every wrapper. Rank 0 leaves each outcome there as soon as
there is one. The first failure ends its process; the other one's next meeting then fails too.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, fsdp2_prepare_model
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from distributed_cases import CASES, Wrap, train
from weft.objectives import cross_entropy, linear_loss
from weft.objectives.causal import CausalObjective

PROCESSES = 2
SECONDS = 120
"""After these a process that still waits for another one says where, and ends."""


def ddp(accelerator: Accelerator, objective: CausalObjective) -> nn.Module:
    wrapped = accelerator.prepare(objective)
    assert isinstance(wrapped, DistributedDataParallel)
    return wrapped


def sharded(accelerator: Accelerator, objective: CausalObjective) -> nn.Module:
    """FSDP2 by hand: without a GPU Accelerate takes no notice of its own plugin, and DDP of the same name would pass."""
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for layer in [module for module in objective.modules() if type(module).__name__ in objective._no_split_modules]:
        fully_shard(layer, mesh=mesh)
    return _as_of_accelerate(fully_shard(objective, mesh=mesh))


def sharded_by_accelerate(accelerator: Accelerator, objective: CausalObjective) -> nn.Module:
    """With the rules of Accelerate's plugin, which asks the module that it wraps for more than a forward."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=True
    )
    stand_in = SimpleNamespace(  # an Accelerator of distributed type FSDP, which there is none of on a CPU
        state=SimpleNamespace(fsdp_plugin=plugin),
        mixed_precision="no",
        device=accelerator.device,
        is_main_process=accelerator.is_main_process,
        torch_device_mesh={("ranks",): init_device_mesh("cpu", (PROCESSES,))},
        parallelism_config=SimpleNamespace(fsdp_dim_names=["ranks"]),
    )
    return _as_of_accelerate(fsdp2_prepare_model(stand_in, objective))


def _as_of_accelerate(objective: nn.Module) -> nn.Module:
    """A sharded objective that answers to ``Accelerator.no_sync`` as to an Accelerator whose plugin has sharded it."""

    @contextmanager
    def no_sync() -> Iterator[None]:
        objective.set_requires_gradient_sync(False)
        yield
        objective.set_requires_gradient_sync(True)

    units = [name for name, module in objective.named_modules() if isinstance(module, FSDPModule)]
    assert len(units) == 3, f"not the whole and its two decoder layers, but {units}"
    assert all(isinstance(weight, DTensor) for weight in objective.parameters())
    objective.no_sync = no_sync
    return objective


WRAPPERS: dict[str, Wrap] = {"DDP": ddp, "fully_shard": sharded, "Accelerate's FSDP2": sharded_by_accelerate}
RUNS = [(wrapper, name) for wrapper in ("DDP", "fully_shard") for name in CASES]
RUNS += [("Accelerate's FSDP2", name) for name in ("full", "full, tied", "LoRA, tied")]


def main(rank: int, folder: Path) -> None:
    faulthandler.enable()
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": PROCESSES, "LOCAL_WORLD_SIZE": PROCESSES}
    os.environ.update({name: str(number) for name, number in place.items()})
    dist.init_process_group(
        "gloo",
        init_method=(folder / "meeting").as_uri(),
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=SECONDS),
    )
    cross_entropy.TARGETS_AT_ONCE = linear_loss.TARGETS_AT_ONCE = 8  # so that a micro-batch is more than one chunk
    for wrapper, name in RUNS:
        print(f"{wrapper}: {name}", flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)  # instead of the one before
        outcome = train(CASES[name], WRAPPERS[wrapper])
        if rank == 0:
            (folder / "unfinished").write_bytes(pickle.dumps(outcome))
            (folder / "unfinished").rename(folder / f"{wrapper}: {name}")
    faulthandler.cancel_dump_traceback_later()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
