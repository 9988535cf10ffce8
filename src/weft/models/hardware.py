"""Which device and which number types: chosen from the hardware unless the configuration says otherwise."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
import torch

from weft.config.schema import Config
from weft.errors import ConfigError


def choose_device() -> torch.device:
    """The first CUDA GPU, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(config: Config, device: torch.device, trained: bool) -> torch.dtype:
    """The type of the weights in memory.

    ``auto`` is float32 on a CPU and on Apple's GPU, and wherever the weights are ``trained``: small updates vanish in
    half precision. Frozen weights on a CUDA GPU are bfloat16, or float16 where the GPU has no bfloat16.

    Raises:
        ConfigError: float16 for weights that are trained, which overflows.
    """
    if config.model.dtype == "float16" and trained:
        raise ConfigError(
            "weights that are trained cannot be float16",
            where="model.dtype",
            fix="set model.dtype to auto, float32 or bfloat16; train.fp16 computes in float16 on float32 weights",
        )
    if config.model.dtype != "auto":
        return getattr(torch, config.model.dtype)
    if trained or device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if _has_bfloat16(device) else torch.float16


def choose_autocast(config: Config, device: torch.device) -> torch.dtype | None:
    """The type that matrix products are computed in while training, or None for the type of the weights.

    Raises:
        ConfigError: both types asked for, or one that the device lacks.
    """
    bf16, fp16 = config.train.bf16, config.train.fp16
    if bf16 is True and fp16:
        raise ConfigError("bf16 and fp16 are both on", where="train.bf16, train.fp16", fix="turn one of them off")
    if fp16:
        if device.type != "cuda":
            raise ConfigError(
                f"float16 training needs a CUDA GPU; this machine trains on {device.type}",
                where="train.fp16",
                fix="remove train.fp16",
            )
        return torch.float16
    if bf16 is True:
        if device.type != "cpu" and not _has_bfloat16(device):
            raise ConfigError("this GPU has no bfloat16", where="train.bf16", fix="use train.fp16: true instead")
        return torch.bfloat16
    return torch.bfloat16 if bf16 == "auto" and _has_bfloat16(device) else None


class OtherWork:
    """What other processes do with the cores, from when this is made until it is asked."""

    def __init__(self) -> None:
        psutil.cpu_percent(percpu=True)  # the next call counts from here
        self._since, self._own = time.monotonic(), time.process_time()

    def busy_cores(self) -> float:
        """How many cores they kept busy in the mean."""
        percent = psutil.cpu_percent(percpu=True)
        everyone = sum(percent[core] for core in _cores() if core < len(percent)) / 100
        return everyone - (time.process_time() - self._own) / (time.monotonic() - self._since)


def contention(device: torch.device, busy: float) -> str | None:
    """What to say where other processes keep ``busy`` of the cores that torch counts on; None where that leaves enough.

    The threads of torch meet after every operation, and spin until the last one is there: with one of two cores busy,
    two threads trained a model of two million parameters 5 to more than 15 times slower than one did (docs/benchmarks.md).
    """
    threads, cores = torch.get_num_threads(), len(_cores())
    if device.type != "cpu" or threads == 1:
        return None
    if busy < 0.5 or busy + threads < cores + 0.5:
        return None
    return (
        f"other processes keep {busy:.1f} of {cores} cores busy, and torch's {threads} threads wait for the slowest one: "
        f"with OMP_NUM_THREADS={max(1, int(cores - busy))} this may go many times faster"
    )


def describe() -> dict[str, Any]:
    """Processor, memory, accelerators, and the types that ``auto`` takes here with the reason, for ``weft doctor``."""
    device = choose_device()
    auto = Config()
    return {
        "cpu": _describe_cpu(),
        "gpus": _describe_gpus(),
        "device": str(device),
        "dtype": {
            "frozen weights": _name(choose_dtype(auto, device, trained=False)),
            "trained weights": _name(choose_dtype(auto, device, trained=True)),
            "computation": _name(choose_autocast(auto, device) or torch.float32),
            "why": _reason(device),
        },
    }


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _describe_cpu() -> dict[str, Any]:
    capabilities = torch.cpu.get_capabilities()
    matrix_units = [name for name in ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16") if capabilities.get(name)]
    memory = psutil.virtual_memory()
    return {
        "cores": len(_cores()),
        "torch threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16 instructions": matrix_units,
        "memory bytes": memory.total,
        "free memory bytes": memory.available,
    }


def _cores() -> set[int]:
    """The cores that this process may use, by their numbers."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _describe_gpus() -> list[dict[str, Any]]:
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        {"name": device.name, "memory bytes": device.total_memory, "capability": f"{device.major}.{device.minor}"}
        for device in devices
    ]


def _reason(device: torch.device) -> str:
    if device.type == "cuda":
        half = "bfloat16" if _has_bfloat16(device) else "no bfloat16, so float16"
        return f"this GPU has {half}; weights that are trained stay float32, because small updates vanish in half precision"
    if device.type == "mps":
        return "float32 throughout: half precision on Apple's GPU is not tested"
    return "float32 throughout: on most CPUs bfloat16 is slower"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether a device, or the machine, had too little memory; PyTorch has no type of its own for the latter."""
    return isinstance(problem, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(problem)
