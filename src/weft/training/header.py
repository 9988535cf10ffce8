"""The run's header: what is trained, on what, in which steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.config.schema import Config, TrainConfig
from weft.data.mixture import mixture_line
from weft.data.packing import packing_line
from weft.objectives.base import Objective
from weft.training.plan import Plan
from weft.training.preflight import Inputs


def run_facts(
    config: Config, inputs: Inputs, objective: Objective, environment: Mapping[str, Any]
) -> dict[str, str | int | float | None]:
    """The facts of a run, for programs."""
    weights = list(objective.parameters())
    plan, report = inputs.plan, inputs.train.report
    packing, rows, mixture = plan.packing, plan.packing.rows(0), plan.packing.mixture
    return {
        "model": config.model.name,
        "tuning": config.tuning.mode,
        "trained_parameters": sum(weight.numel() for weight in weights if weight.requires_grad),
        "parameters": sum(weight.numel() for weight in weights),
        "device": environment["device"],
        "dtype": environment["dtype"],
        "mixed_precision": environment["mixed_precision"],
        "attention": objective.rung,
        "attention_reason": objective.rung_reason,
        "logits": objective.logits_rung,
        "template": inputs.renderer.template.name if inputs.renderer.template else None,
        "documents": report.documents,
        "blocks": report.blocks,
        "block_size": inputs.renderer.documents.block_size if inputs.renderer.documents else None,
        "document_end": inputs.renderer.documents.closing if inputs.renderer.documents else None,
        "examples": len(inputs.train),
        "tokens": report.tokens,
        "trained_tokens": report.trained_tokens,
        "longest": report.longest,
        "validation_examples": len(inputs.validation) if inputs.validation else 0,
        "mixture": None if mixture.is_plain else mixture_line(mixture.by, mixture.shares()),
        "packing": packing.how,
        "rows": len(rows),
        "row_capacity": packing.capacity,
        "fill": rows.fill,
        "examples_per_row": packing.visits / len(rows),
        "batch_size": plan.batch_size,
        "grad_accum": plan.grad_accum,
        "processes": plan.processes,
        "effective_batch": plan.effective_batch,
        "steps": plan.total_steps,
        "epochs": planned_epochs(config.train, plan),
        "learning_rate": config.train.learning_rate,
        "lr_scheduler_type": config.train.lr_scheduler_type,
    }


def planned_epochs(config: TrainConfig, plan: Plan) -> float:
    """The epochs that a plan takes; as if all were like the first where only packing every one of them would tell."""
    counted = plan.packing.alike or config.max_steps is None or plan.total_steps <= plan.steps_in(0)
    return plan.epochs_done(plan.total_steps) if counted else plan.total_steps / plan.steps_in(0)


def run_header(facts: Mapping[str, Any]) -> str:
    """The same facts, for people."""
    share = facts["trained_parameters"] / facts["parameters"]
    precision = "" if facts["mixed_precision"] == "no" else f", autocast to {facts['mixed_precision']}"
    packed = facts["packing"] != "none"
    step = f"{facts['effective_batch']} {'rows' if packed else 'examples'} a step"
    if packed:
        step += f" (about {facts['effective_batch'] * facts['examples_per_row']:.0f} examples)"
    lines = {
        "model": f"{facts['model']}, {facts['parameters']:,} parameters",
        "tuning": f"{facts['tuning']}, {facts['trained_parameters']:,} trained ({share:.1%})",
        "on": f"{facts['device']}, {facts['dtype']}{precision}; logits: {facts['logits']}",
        "attention": f"{facts['attention']} ({facts['attention_reason']})",
        "data": f"{facts['examples']:,} examples, {facts['tokens']:,} tokens of which {facts['trained_tokens']:,} trained, "
        f"longest {facts['longest']:,}; {facts['validation_examples']:,} examples for validation",
        "documents": f"{facts['documents']:,} in {facts['blocks']:,} blocks of at most {facts['block_size']:,} tokens, each ends "
        f"with {facts['document_end']}"
        if facts["documents"]
        else None,
        "mixture": facts["mixture"],
        "template": facts["template"],
        "packing": packing_line(
            facts["packing"], rows=facts["rows"], capacity=facts["row_capacity"], fill=facts["fill"]
        ),
        "batch": f"{step} = {facts['batch_size']} × {facts['grad_accum']} micro-batches × {facts['processes']} processes",
        "steps": f"{facts['steps']:,} = {facts['epochs']:.2f} epochs; learning rate up to {facts['learning_rate']:g}, "
        f"{facts['lr_scheduler_type']}",
    }
    return "\n".join(f"{name:<10} {line}" for name, line in lines.items() if line)
