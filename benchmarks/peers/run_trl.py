"""One run of TRL's SFTTrainer: ``python -m benchmarks.peers.run_trl JOB``."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.cases import LENGTH_LIMIT, LORA_ALPHA, LORA_RANK
from benchmarks.examples import read_examples
from benchmarks.job import Job


def main(job: Job) -> None:
    """Train as the job says, with what TRL does by itself, but for what costs time on a CPU: bf16 and checkpointing."""
    from benchmarks.peers.watch import Watch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    watch = Watch(job)
    lora = LoraConfig(
        r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = SFTTrainer(
        model=job.model,
        args=SFTConfig(
            output_dir=job.folder,
            max_steps=job.steps,
            per_device_train_batch_size=job.batch_size,
            gradient_accumulation_steps=job.grad_accum,
            learning_rate=job.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_length=LENGTH_LIMIT,
            packing=job.packed,
            train_sampling_strategy="sequential",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            logging_strategy="steps" if job.record else "no",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(read_examples(Path(job.examples))),
        peft_config=lora if job.lora else None,
        callbacks=[watch],
    )
    trainer.train()
    watch.write("trl", "transformers", "torch", "peft")


if __name__ == "__main__":
    main(Job.read(sys.argv[1]))
