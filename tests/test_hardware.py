"""Types and devices: what ``auto`` means on each kind of hardware, and what is refused."""

from __future__ import annotations

import pytest
import torch

from weft.config.schema import Config
from weft.errors import ConfigError
from weft.models import hardware
from weft.models.hardware import choose_autocast, choose_device, choose_dtype, describe

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def config(**keys: object) -> Config:
    sections: dict[str, dict[str, object]] = {}
    for name, value in keys.items():
        section, _, key = name.partition("__")
        sections.setdefault(section, {})[key] = value
    return Config.model_validate(sections)


@pytest.fixture(params=[True, False], ids=["bf16 GPU", "older GPU"])
def has_bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: request.param)
    return bool(request.param)


def test_a_cpu_computes_in_float32() -> None:
    assert choose_dtype(config(), CPU, trained=True) == torch.float32
    assert choose_dtype(config(), CPU, trained=False) == torch.float32
    assert choose_autocast(config(), CPU) is None
    assert choose_autocast(config(train__bf16=False), CPU) is None
    assert choose_autocast(config(train__bf16=True), CPU) == torch.bfloat16


def test_a_gpu_halves_frozen_weights_and_keeps_trained_ones(has_bf16: bool) -> None:
    assert choose_dtype(config(), GPU, trained=True) == torch.float32
    assert choose_dtype(config(), GPU, trained=False) == (torch.bfloat16 if has_bf16 else torch.float16)
    assert choose_autocast(config(), GPU) == (torch.bfloat16 if has_bf16 else None)
    assert choose_autocast(config(train__bf16=False), GPU) is None
    assert choose_autocast(config(train__fp16=True), GPU) == torch.float16


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_the_configuration_decides_where_it_says_something(name: str) -> None:
    assert choose_dtype(config(model__dtype=name), CPU, trained=False) == getattr(torch, name)


def test_impossible_types_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(ConfigError, match=r"model\.dtype: weights that are trained cannot be float16"):
        choose_dtype(config(model__dtype="float16"), GPU, trained=True)
    with pytest.raises(ConfigError, match=r"train\.fp16: float16 training needs a CUDA GPU"):
        choose_autocast(config(train__fp16=True), CPU)
    with pytest.raises(ConfigError, match="bf16 and fp16 are both on"):
        choose_autocast(config(train__fp16=True, train__bf16=True), GPU)
    with pytest.raises(ConfigError, match="this GPU has no bfloat16"):
        choose_autocast(config(train__bf16=True), GPU)


def test_the_device_is_there() -> None:
    assert torch.ones(2, device=choose_device()).sum().item() == 2


def test_the_description_says_what_auto_chooses() -> None:
    found = describe()
    device = choose_device()
    assert found["device"] == str(device)
    assert f"torch.{found['dtype']['frozen weights']}" == str(choose_dtype(Config(), device, trained=False))
    assert found["dtype"]["why"]
    assert found["cpu"]["torch threads"] == torch.get_num_threads()
    assert 0 < found["cpu"]["free memory bytes"] <= found["cpu"]["memory bytes"]
    assert len(found["gpus"]) == torch.cuda.device_count()


@pytest.mark.parametrize(
    ("busy", "threads", "said"),
    [
        (0.0, 2, False),
        (0.4, 2, False),
        (1.0, 2, True),
        (2.0, 2, True),
        (2.0, 1, False),
        (0.0, 4, False),  # more threads than cores, and nobody else
        (0.4, 4, False),
        (0.5, 4, True),
    ],
)
def test_a_busy_machine_is_told_apart_from_a_quiet_one(monkeypatch, busy, threads, said):
    monkeypatch.setattr(hardware, "_cores", lambda: {0, 1})
    monkeypatch.setattr(hardware.torch, "get_num_threads", lambda: threads)
    notice = hardware.contention(torch.device("cpu"), busy)
    assert (notice is not None) == said
    assert notice is None or "OMP_NUM_THREADS=1" in notice
    assert hardware.contention(torch.device("cuda"), busy) is None


def test_only_the_work_of_others_counts(monkeypatch):
    """Of the four cores that are ours three are busy, one of them with this process; a fifth is none of our business."""
    seconds = iter([10.0, 12.0])
    own = iter([5.0, 7.0])
    monkeypatch.setattr(hardware.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(hardware.time, "process_time", lambda: next(own))
    monkeypatch.setattr(hardware.psutil, "cpu_percent", lambda percpu: [100.0, 100.0, 50.0, 50.0, 100.0])
    monkeypatch.setattr(hardware, "_cores", lambda: {0, 1, 2, 3})
    assert hardware.OtherWork().busy_cores() == 2.0
