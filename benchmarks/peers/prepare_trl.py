"""TRL's preparation of a file of records: ``python -m benchmarks.peers.prepare_trl JOB`` (benchmarks.prepare_job)."""

from __future__ import annotations

import sys
import time

from benchmarks.examples import split_row
from benchmarks.prepare_job import MAX_LENGTH, PrepareJob
from benchmarks.stopwatch import peak_bytes


def main(job: PrepareJob) -> None:
    """Read, render, encode, mask and pack as SFTTrainer does, for the smallest model that it takes."""
    from datasets import load_dataset
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
    from trl import SFTConfig, SFTTrainer

    libraries = peak_bytes()
    prepared = []

    class Timed(SFTTrainer):
        def _prepare_dataset(self, *arguments, **settings):
            started = time.monotonic()
            found = super()._prepare_dataset(*arguments, **settings)
            prepared.append(time.monotonic() - started)
            return found

    tokenizer = AutoTokenizer.from_pretrained(job.tokenizer)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    started = time.monotonic()
    records = load_dataset("json", data_files=job.records, split="train", cache_dir=f"{job.folder}/cache")
    reading = time.monotonic() - started
    trainer = Timed(
        model=Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, **shape)),
        args=SFTConfig(
            output_dir=f"{job.folder}/run",
            max_length=MAX_LENGTH,
            packing=True,
            assistant_only_loss=job.kind == "messages",
            dataset_num_proc=job.processes if job.processes > 1 else None,
            use_cpu=True,
            bf16=False,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=records,
        processing_class=tokenizer,
    )
    rows = trainer.train_dataset
    lengths = rows["seq_lengths"]
    job.report_of(
        reading + prepared[0],
        peak_bytes(),
        libraries=libraries,
        rows=len(rows),
        tokens=sum(map(sum, lengths)),
        examples=(
            example for row in rows for example in split_row(row["input_ids"], row["labels"], row["seq_lengths"])
        ),
    )


if __name__ == "__main__":
    main(PrepareJob.read(sys.argv[1]))
