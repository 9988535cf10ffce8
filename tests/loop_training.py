"""The loop on a tiny model, and what it says and saves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from small_examples import VOCABULARY
from weft.config.schema import TrainConfig
from weft.data.mixture import Mixture
from weft.data.packing import Packing
from weft.objectives.base import Objective
from weft.objectives.causal import CausalObjective
from weft.training.loop import Training, fit
from weft.training.optimizer import build_optimizer
from weft.training.plan import make_plan
from weft.training.progress import Progress
from weft.types import Example

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other


class Events:
    """Records what the loop says and when it saves; a recorder and a `save` in one."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []
        self.steps: list[int] = []
        self.saved: list[int] = []
        self.rates: list[float] = []

    def step(self, progress: Progress, *, loss: float, learning_rate: float) -> None:
        self.steps.append(progress.step)
        self.rates.append(learning_rate)

    def metrics(self, values: dict[str, float]) -> None:
        self.lines.append(values)

    def save(self, progress: Progress) -> None:
        self.saved.append(progress.step)


def make_training(
    examples: list[Example],
    *,
    objective: Objective | None = None,
    dropout: float = 0.0,
    capacity: int = 12,
    **keys: Any,
) -> Training:
    config = TrainConfig(**{"learning_rate": 0.1, "logging_steps": 1, **keys})
    if objective is None:
        torch.manual_seed(1)
        shape = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            attention_dropout=dropout,
        )
        objective = CausalObjective(LlamaForCausalLM(shape))
    accelerator = Accelerator(cpu=True)
    mixture = Mixture({"train": range(len(examples))}, {"train": 1.0}, seed=3)
    lengths = np.array([len(example.ids) for example in examples])
    packing = Packing(mixture, lengths, how=config.packing, capacity=capacity, seed=3)
    prepared, optimizer = accelerator.prepare(objective, build_optimizer(objective, config))
    return Training(
        objective=prepared,
        optimizer=optimizer,
        accelerator=accelerator,
        examples=examples,
        plan=make_plan(config, packing, processes=accelerator.num_processes),
        config=config,
        seed=3,
    )


def run(training: Training, progress: Progress | None = None, **keys: Any) -> tuple[Events, Progress]:
    events, progress = Events(), progress or Progress()
    fit(training, progress, recorder=events, save=events.save, **keys)
    return events, progress


def weights(training: Training) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in training.objective.parameters()]).clone()
