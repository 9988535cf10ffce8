"""One run of LLaMA-Factory: ``python -m benchmarks.peers.run_llamafactory JOB``."""

from __future__ import annotations

import sys

from benchmarks.cases import LENGTH_LIMIT, LORA_ALPHA, LORA_RANK
from benchmarks.job import Job


def main(job: Job) -> None:
    """Train as the job says, through the function behind ``llamafactory-cli train``."""
    from benchmarks.peers.watch import Watch
    from llamafactory.train.tuner import run_exp

    watch = Watch(job)
    run_exp(_arguments(job), callbacks=[watch])
    watch.write("llamafactory", "transformers", "torch", "peft")


def _arguments(job: Job) -> dict[str, object]:
    lora = {"lora_rank": LORA_RANK, "lora_alpha": LORA_ALPHA, "lora_dropout": 0.0, "lora_target": "all"}
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job.model,
        "finetuning_type": "lora" if job.lora else "full",
        **(lora if job.lora else {}),
        "dataset": "prepared",  # only a name: the examples are read from tokenized_path
        "tokenized_path": job.examples,
        "template": "empty",
        "cutoff_len": LENGTH_LIMIT,
        "packing": job.packed,
        "neat_packing": job.packed,
        "disable_shuffling": True,
        "output_dir": job.folder,
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch_size,
        "gradient_accumulation_steps": job.grad_accum,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "use_cpu": True,
        "bf16": False,
        "disable_gradient_checkpointing": True,
        "dataloader_pin_memory": False,
        "logging_strategy": "steps" if job.record else "no",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "plot_loss": False,
    }


if __name__ == "__main__":
    main(Job.read(sys.argv[1]))
