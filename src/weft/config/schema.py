"""Every configuration key: name, type, default, meaning. Keys are born here and, those of the data, in data_schema.py.

The docstring under a field is its help: docs/config.md and configs/config_base.yaml are generated from it.
:func:`weft.config.section.key` adds what a type cannot say: other names for the key, values that are accepted by the language
but not acted on yet, and whether the key takes part in a run's identity (does a change of it make another run?).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from weft.config.data_schema import DataConfig, DatasetConfig, named_apart
from weft.config.section import Auto, Name, Place, Section, key

Mode = Literal["sft", "cpt", "cpt_mixed"]


class TokenizerIds(Section):
    """The ids that special tokens must have; -1 where there must be none. Names that are not set are not looked at."""

    pad: int | None = key(None, ge=-1, identity=False)
    """The token that fills batches."""
    unk: int | None = key(None, ge=-1, identity=False)
    """The token for unknown characters."""
    bos: int | None = key(None, ge=-1, identity=False)
    """The token that begins a text."""
    eos: int | None = key(None, ge=-1, identity=False)
    """The token that ends a text."""


class ModelConfig(Section):
    """The model to start from."""

    name: Name = key("models/nano")
    """A local directory, or a name on the Hugging Face hub (`org/name`)."""
    local_dir: Place | None = key(None)
    """A local directory to read instead of `name`, which then stays as the model's public name."""
    revision: Name | None = key(None)
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = key(False, pending=(True,))
    """Run Python code from the model's directory. weft never does: models must be part of Transformers."""
    tokenizer: Place | None = key(None, identity=False)
    """Another tokenizer than the model's own: a directory with a `tokenizer.json`, or a SentencePiece model (`spm32k.model`)."""
    tokenizer_ids: TokenizerIds = key(default_factory=TokenizerIds, identity=False)
    type: Literal["causal"] = key("causal")
    """The kind of model: `causal` predicts the next token."""
    max_seq_len: int = key(1024, aliases=("train.max_seq_len",), ge=8)
    """The longest example, in tokens. What becomes of longer ones: `data.overlong`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = key("auto")
    """The type of the weights in memory. `auto`: float32; on a GPU, bfloat16 for frozen weights."""


class LoraConfig(Section):
    """Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685)."""

    r: int = key(16, ge=1)
    """Rank of the update matrices."""
    alpha: float = key(32.0, gt=0)
    """The update is scaled by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = key(0.05)
    """Dropout on the adapter's input."""
    target_modules: Auto | Annotated[list[Name], Field(min_length=1)] = key("auto")
    """Which linear layers get an adapter: `auto` = every linear layer but the head; or a list of module names."""


class TuningConfig(Section):
    """Which weights are trained."""

    mode: Literal["full", "lora", "qlora"] = key("lora", pending=("qlora",))
    """`full`: every weight. `lora`: adapters on a frozen model. `qlora`: adapters on a 4-bit model."""
    backend: Literal["transformers", "bnb", "unsloth"] = key("transformers", pending=("bnb", "unsloth"))
    """What loads the model: Transformers, bitsandbytes (4- and 8-bit), or Unsloth."""
    lora: LoraConfig = key(default_factory=LoraConfig)


PackingMethod = Literal["none", "bfd", "wrapped"]


class TrainConfig(Section):
    """The training run."""

    output_dir: Place | None = key(None, identity=False)
    """The run directory. Default: `outputs/` + `run_name`, or `outputs/run`."""
    epochs: float = key(3.0, gt=0, aliases=("train.num_train_epochs",))
    """Passes over the training examples; fractions are allowed."""
    max_steps: int | None = key(None, ge=1, aliases=("train.steps",))
    """Stop after this many optimizer steps; takes precedence over `epochs`."""
    learning_rate: float = key(2e-4, gt=0)
    """The highest learning rate, reached after the warm-up."""
    weight_decay: float = key(0.0, ge=0)
    """Decoupled weight decay; biases and norms are excluded."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = key("cosine")
    """How the learning rate falls after the warm-up: to zero along a half cosine, to zero on a line, or not."""
    warmup_ratio: float = key(0.03, ge=0, le=1)
    """The share of all steps over which the learning rate rises from zero; `warmup_steps` takes precedence."""
    warmup_steps: int | None = key(None, ge=0)
    """The number of steps over which the learning rate rises from zero."""
    optim: Literal["adamw", "sgd"] = key("adamw")
    """`adamw`: fused AdamW, betas 0.9 and 0.999. `sgd`: plain gradient descent, for tests of exactness."""
    bf16: Auto | bool = key("auto")
    """Compute in bfloat16 (autocast). `auto`: on GPUs that have it; never on a CPU, where it is slower."""
    fp16: bool = key(False)
    """Compute in float16 with loss scaling, for GPUs without bfloat16."""
    gradient_checkpointing: bool = key(False)
    """Recompute activations in the backward pass: less memory, about a third more time."""
    batch_size: Auto | Annotated[int, Field(ge=1)] = key("auto")
    """Rows (see `packing`) per micro-batch and device. `auto`: as many as a budget of tokens allows (docs/training.md)."""
    grad_accum: Auto | Annotated[int, Field(ge=1)] = key("auto")
    """Micro-batches per optimizer step. `auto`: what makes 16 examples a step over all devices (about 16, if packed)."""
    max_grad_norm: float = key(1.0, ge=0)
    """Clip the gradient to this norm; 0 turns clipping off."""
    packing: PackingMethod = key("none")
    """How examples share rows of `model.max_seq_len` tokens, without seeing each other. `none`: each is its own row.
    `bfd`: whole examples, best fit decreasing over the epoch. `wrapped`: a stream that is cut into rows, for documents."""
    logging_steps: int = key(10, ge=1, identity=False, aliases=("logging.log_interval",))
    """Log the loss every so many steps, and of the first and the last one."""
    evaluation_strategy: Literal["no", "steps", "epoch"] = key("epoch", aliases=("train.eval_strategy",))
    """When to compute the validation loss."""
    eval_steps: int | None = key(None, ge=1)
    """With `evaluation_strategy: steps`: every so many steps. Default: `save_steps`."""
    save_strategy: Literal["no", "steps", "epoch"] = key("epoch", identity=False)
    """When to write a checkpoint. The last step and an interruption always write one."""
    save_steps: int = key(500, ge=1, identity=False)
    """With `save_strategy: steps`: every so many steps."""
    save_total_limit: int | None = key(2, ge=1, identity=False)
    """Keep this many checkpoints, the newest; the best one is kept beside them."""
    load_best_model_at_end: bool = key(False)
    """Finish with the weights of the best evaluation, not of the last step."""
    metric_for_best_model: Literal["eval_loss", "eval_perplexity"] = key("eval_loss")
    """What makes an evaluation the best."""
    greater_is_better: bool = key(False)
    """Whether a greater value of that metric is better."""
    early_stopping_patience: int | None = key(None, ge=1)
    """Stop after this many evaluations without improvement."""
    resume_from_checkpoint: Place | None = key(None, identity=False)
    """A checkpoint directory to resume from. By default a run resumes from its own newest complete checkpoint."""
    dataloader_num_workers: int = key(0, ge=0, identity=False, pending="any")
    """Processes that read examples ahead. The examples are memory-mapped ids already, so none are needed."""
    dataloader_pin_memory: bool = key(False, identity=False)
    """Copy batches to a GPU from page-locked memory."""
    report_to: Literal["none", "tensorboard"] = key("none", identity=False, aliases=("logging.backend",))
    """Where metrics go beside `metrics.jsonl`: TensorBoard event files in `runs/` need `weft[tensorboard]`."""


class GenConfig(Section):
    """How answers are generated."""

    max_new_tokens: int = key(256, ge=1, identity=False)
    """The longest answer, in tokens."""
    temperature: float = key(0.0, ge=0, identity=False)
    """0 takes the most likely token; higher values sample more freely."""
    top_p: float = key(1.0, gt=0, le=1, identity=False)
    """When sampling: from the smallest set of tokens whose probabilities sum to this (nucleus sampling)."""


class EvalConfig(Section):
    """How a model is scored."""

    sets: dict[str, Place] = key(default_factory=dict, identity=False)
    """Further evaluation sets, `name: path`, beside `train`, `val` and `test`. The format of each record is detected; where
    `data.format` is `custom`, records with those fields are read so."""
    metrics: list[Literal["rouge_l", "exact_match", "loss"]] = key(
        default_factory=lambda: ["rouge_l", "exact_match", "loss"], identity=False
    )
    """What is computed. `loss` includes the perplexity."""
    quick_samples: int = key(200, ge=1, identity=False)
    """How many records `weft eval --quick` takes."""
    batch_size: int = key(16, ge=1, identity=False)
    """Prompts that are answered together."""


class Config(Section):
    """The whole configuration of a run."""

    seed: int = key(42, ge=0, le=2**63 - 1)
    """Everything random derives from this number."""
    run_name: str | None = key(None, identity=False, aliases=("train.run_name",))
    """A name for the run, used for its directory and in logs."""
    mode: Mode = key("sft", aliases=("task_mode", "training_mode"))
    """`sft`: learn answers. `cpt`: learn whole documents (continued pretraining). `cpt_mixed`: both."""
    objective: Literal["causal", "diffusion"] = key("causal", pending=("diffusion",))
    """`causal`: predict the next token. `diffusion`: predict masked tokens."""
    block_size: int | None = key(None, ge=8)
    """With `mode: cpt` and `cpt_mixed`: the most tokens of a document that the model sees at once. Longer ones are cut into
    blocks of this length. Default: `model.max_seq_len`."""
    pack_factor: float | None = key(None, ge=1)
    """With `mode: cpt` and `cpt_mixed`: a document gives at most the tokens of so many blocks; what goes beyond is left out,
    counted and listed. Default: all of it."""
    on_bad_row: Literal["error", "drop"] = key("error", identity=False)
    """What to do with a record that cannot be used: stop, or drop it into a rejects file (`rejects.jsonl`) and count it."""
    datasets: list[DatasetConfig] = key(default_factory=list, aliases=("data.hf_datasets",))
    """Several weighted training sets, in place of `data.train_path`."""
    model: ModelConfig = key(default_factory=ModelConfig)
    tuning: TuningConfig = key(default_factory=TuningConfig)
    train: TrainConfig = key(default_factory=TrainConfig)
    data: DataConfig = key(default_factory=DataConfig)
    gen: GenConfig = key(default_factory=GenConfig)
    eval: EvalConfig = key(default_factory=EvalConfig)

    @field_validator("datasets")
    @classmethod
    def _named_apart(cls, entries: list[DatasetConfig]) -> list[DatasetConfig]:
        return named_apart(entries)
