"""What tests/test_distributed.py trains: small models through the real loop, in one process or, wrapped, in two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from small_examples import VOCABULARY, make_examples
from weft.config.schema import LoraConfig, PackingMethod, TrainConfig
from weft.data.mixture import Mixture
from weft.data.packing import Packing
from weft.models.adapters import add_lora
from weft.models.quiet import quiet_transformers
from weft.objectives import cross_entropy
from weft.objectives.batch import Batch
from weft.objectives.causal import CausalObjective
from weft.training.evaluate import evaluate
from weft.training.loop import Training, fit
from weft.training.optimizer import build_optimizer
from weft.training.plan import make_plan
from weft.training.progress import Progress
from weft.types import Example

HIDDEN, ROW = 32, 24
SEED = 3
BODY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and the steps that it takes."""

    tied: bool = False
    lora: tuple[str, ...] = ()
    """The modules with an adapter, which then are all that is trained."""
    checkpointing: bool = False
    rope: dict[str, Any] | None = None
    packing: PackingMethod = "bfd"
    examples: int = 36
    rows: int = 4
    """Per micro-batch, over all processes."""
    grad_accum: int = 1
    clip: float = 0.0
    optim: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05


CASES = {
    "full": Case(),
    "full, tied": Case(tied=True),
    "LoRA": Case(lora=BODY),
    "LoRA, tied": Case(lora=BODY, tied=True),
    "LoRA also on the head": Case(lora=(*BODY, "lm_head")),
    "checkpointing": Case(checkpointing=True),
    "checkpointing, LoRA, tied": Case(checkpointing=True, lora=BODY, tied=True),
    "accumulation": Case(rows=2, grad_accum=3),
    "accumulation, checkpointing, LoRA": Case(rows=2, grad_accum=3, checkpointing=True, lora=BODY),
    "a rank without targets": Case(packing="none", examples=6, rows=4, grad_accum=2),
    "a rank without targets, LoRA, tied": Case(packing="none", examples=6, rows=4, grad_accum=2, lora=BODY, tied=True),
    "clipping": Case(clip=1.0),
    "AdamW": Case(optim="adamw", learning_rate=1e-3),
    "one document per forward": Case(rope={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a case came to."""

    gradients: list[dict[str, Tensor]]
    """Of each step, by the names of the weights, whole."""
    weights: dict[str, Tensor]
    """After the last step, whole."""
    lines: list[dict[str, float]]
    """What the loop logged of each step."""
    held_out: float
    """The loss on other examples after the last step."""
    batches: list[list[tuple[int, int]]]
    """Of each rank, how many documents and targets its micro-batches had."""
    heads: set[tuple[str, tuple[int, ...]]]
    """The type and shape of every weight that the fused kernel met."""
    unsynchronised: int
    """How many backward passes left the gradients where they were."""
    rung: str


Wrap = Callable[[Accelerator, CausalObjective], nn.Module]
"""Makes the objective one that trains together with those of the other processes."""


def train(case: Case, wrap: Wrap) -> Outcome:
    """Take three steps of the loop, together with the other processes where there are any."""
    accelerator = Accelerator(cpu=True)
    config = TrainConfig(
        optim=case.optim,
        learning_rate=case.learning_rate,
        lr_scheduler_type="constant",
        max_steps=3,
        batch_size=case.rows // accelerator.num_processes,
        grad_accum=case.grad_accum,
        max_grad_norm=case.clip,
        logging_steps=1,
        save_strategy="no",
    )
    objective = make_objective(case)
    batches: list[tuple[int, int]] = []
    objective.register_forward_pre_hook(lambda _, inputs: batches.append(_documents_and_targets(*inputs)))
    wrapped = wrap(accelerator, objective)
    unsynchronised = _spy_on_no_sync(wrapped)
    optimizer = build_optimizer(objective, config)
    gradients: list[dict[str, Tensor]] = []
    optimizer.register_step_pre_hook(lambda *_: gradients.append(_gradients(objective)))
    examples, held_out = make_examples(case.examples), make_examples(5, seed=6)
    training = Training(
        objective=wrapped,
        optimizer=accelerator.prepare(optimizer),
        accelerator=accelerator,
        examples=examples,
        plan=make_plan(config, _packing(examples, case.packing), processes=accelerator.num_processes),
        config=config,
        seed=SEED,
    )
    lines = Lines()
    with mock.patch.object(cross_entropy, "linear_loss", wraps=cross_entropy.linear_loss) as kernel:
        fit(training, Progress(), recorder=lines, save=lambda _: None)
    return Outcome(
        gradients=gradients,
        weights=get_model_state_dict(wrapped, options=StateDictOptions(full_state_dict=True, cpu_offload=True)),
        lines=lines.lines,
        batches=_of_all_ranks(list(batches)),
        heads={(type(call.args[1]).__name__, tuple(call.args[1].shape)) for call in kernel.call_args_list},
        unsynchronised=unsynchronised.call_count,
        held_out=evaluate(wrapped, held_out, _packing(held_out, "none").rows(0), batch_size=2).loss,
        rung=objective.rung,
    )


class Lines:
    """A recorder of the loop's metrics."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []

    def step(self, progress: Progress, *, loss: float, learning_rate: float) -> None:
        pass

    def metrics(self, values: dict[str, float]) -> None:
        self.lines.append(values)


def make_objective(case: Case) -> CausalObjective:
    """Of random weights by a seed, large enough that logits differ; B of LoRA is not zero."""
    torch.manual_seed(1)
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            rope_parameters=case.rope,
            tie_word_embeddings=case.tied,
        )
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    if case.lora:
        model = add_lora(model, LoraConfig(r=4, alpha=4, dropout=0.0, target_modules=list(case.lora)), SEED)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight, std=0.1)
    if case.checkpointing:
        with quiet_transformers():
            model.gradient_checkpointing_enable({"use_reentrant": False})
    return CausalObjective(model)


def _packing(examples: list[Example], how: PackingMethod) -> Packing:
    mixture = Mixture({"train": range(len(examples))}, {"train": 1.0}, seed=SEED)
    lengths = np.array([len(example.ids) for example in examples])
    return Packing(mixture, lengths, how=how, capacity=ROW, seed=SEED)


def _gradients(objective: nn.Module) -> dict[str, Tensor]:
    return {name: _whole(weight.grad) for name, weight in objective.named_parameters() if weight.grad is not None}


def _whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone()


def _spy_on_no_sync(module: nn.Module) -> mock.Mock:
    """Counts the calls of the method with which wrappers let gradients add up in each process."""
    no_sync: Callable[[], AbstractContextManager[None]] | None = getattr(module, "no_sync", None)
    spy = mock.Mock(side_effect=no_sync)
    if no_sync is not None:
        module.no_sync = spy
    return spy


def _documents_and_targets(batch: Batch) -> tuple[int, int]:
    return len(batch.lengths), len(batch.targets)


def _of_all_ranks(value: list[Any]) -> list[list[Any]]:
    if not dist.is_initialized():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered
