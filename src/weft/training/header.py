"""The run's header: what is trained, on what, in which steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.config.schema import Config
from weft.objectives.base import Objective
from weft.training.preflight import Inputs


def run_facts(
    config: Config, inputs: Inputs, objective: Objective, environment: Mapping[str, Any]
) -> dict[str, str | int | float]:
    """The facts of a run, for programs."""
    weights = list(objective.parameters())
    plan, report = inputs.plan, inputs.train.report
    return {
        "model": config.model.name,
        "tuning": config.tuning.mode,
        "trained_parameters": sum(weight.numel() for weight in weights if weight.requires_grad),
        "parameters": sum(weight.numel() for weight in weights),
        "device": environment["device"],
        "dtype": environment["dtype"],
        "mixed_precision": environment["mixed_precision"],
        "attention": objective.rung,
        "logits": objective.logits_rung,
        "template": inputs.renderer.template.name,
        "examples": len(inputs.train),
        "tokens": report.tokens,
        "trained_tokens": report.trained_tokens,
        "longest": report.longest,
        "validation_examples": len(inputs.validation) if inputs.validation else 0,
        "batch_size": plan.batch_size,
        "grad_accum": plan.grad_accum,
        "processes": plan.processes,
        "effective_batch": plan.effective_batch,
        "steps": plan.total_steps,
        "epochs": plan.epochs_done(plan.total_steps),
        "learning_rate": config.train.learning_rate,
        "lr_scheduler_type": config.train.lr_scheduler_type,
    }


def run_header(facts: Mapping[str, Any]) -> str:
    """The same facts, for people."""
    share = facts["trained_parameters"] / facts["parameters"]
    precision = "" if facts["mixed_precision"] == "no" else f", autocast to {facts['mixed_precision']}"
    lines = {
        "model": f"{facts['model']}, {facts['parameters']:,} parameters",
        "tuning": f"{facts['tuning']}, {facts['trained_parameters']:,} trained ({share:.1%})",
        "on": f"{facts['device']}, {facts['dtype']}{precision}; "
        f"attention: {facts['attention']}; logits: {facts['logits']}",
        "data": f"{facts['examples']:,} examples, {facts['tokens']:,} tokens of which {facts['trained_tokens']:,} trained, "
        f"longest {facts['longest']:,}; {facts['validation_examples']:,} examples for validation",
        "template": facts["template"],
        "batch": f"{facts['effective_batch']} examples a step = {facts['batch_size']} × {facts['grad_accum']} micro-batches "
        f"× {facts['processes']} processes",
        "steps": f"{facts['steps']:,} = {facts['epochs']:.2f} epochs; learning rate up to {facts['learning_rate']:g}, "
        f"{facts['lr_scheduler_type']}",
    }
    return "\n".join(f"{name:<9} {line}" for name, line in lines.items())
