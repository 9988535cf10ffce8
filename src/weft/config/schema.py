"""Every configuration key: name, type, default, meaning. The only place where keys are born.

The docstring under a field is its help: docs/config.md and configs/config_base.yaml are generated from it. :func:`key` adds
what a type cannot say: other names for the key, values that are accepted by the language but not acted on yet, and
whether the key takes part in a run's identity (does a change of it make another run?).
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Name = Annotated[str, Field(min_length=1)]
"""Text that names something, such as a path: never empty, because the empty path is the working directory."""

Paths = Name | Annotated[list[Name], Field(min_length=1)]
"""A file, a directory, a pattern such as `data/*.jsonl`, each perhaps with `#500` for a sample; or a list of these."""


def key(
    default: Any = ...,
    *,
    aliases: tuple[str, ...] = (),
    identity: bool = True,
    pending: tuple[Any, ...] | Literal["any"] = (),
    **constraints: Any,
) -> Any:
    """A field with weft's own marks.

    Args:
        default: the value when nobody sets the key; ``...`` for a required one.
        aliases: full dotted names that mean the same key, as the field's other tools write it.
        identity: False where a change leaves the trained weights untouched (logging, file names, generation).
        pending: values that a later version acts on; ``"any"`` for every value but the default. Setting one is an error
            that says so, so that no setting is ever silently ignored.
        constraints: pydantic's (``ge``, ``gt``, ``le``, ``default_factory``, …).
    """
    marks: dict[str, Any] = {
        "aliases": list(aliases),
        "identity": identity,
        "pending": pending if pending == "any" else list(pending),
    }
    if "default_factory" in constraints:
        return Field(json_schema_extra=marks, **constraints)
    return Field(default, json_schema_extra=marks, **constraints)


class Section(BaseModel):
    """A frozen group of keys that refuses keys it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class ModelConfig(Section):
    """The model to start from."""

    name: Name = key("models/nano")
    """A local directory, or a name on the Hugging Face hub (`org/name`)."""
    local_dir: Name | None = key(None)
    """A local directory to read instead of `name`, which then stays as the model's public name."""
    revision: Name | None = key(None)
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = key(False, pending=(True,))
    """Run Python code from the model's directory. weft never does: models must be part of Transformers."""
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

    output_dir: Name | None = key(None, identity=False)
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
    resume_from_checkpoint: Name | None = key(None, identity=False)
    """A checkpoint directory to resume from. By default a run resumes from its own newest complete checkpoint."""
    dataloader_num_workers: int = key(0, ge=0, identity=False, pending="any")
    """Processes that read examples ahead. The examples are memory-mapped ids already, so none are needed."""
    dataloader_pin_memory: bool = key(False, identity=False)
    """Copy batches to a GPU from page-locked memory."""
    report_to: Literal["none", "tensorboard"] = key("none", identity=False, aliases=("logging.backend",))
    """Where metrics go beside `metrics.jsonl`: TensorBoard event files in `runs/` need `weft[tensorboard]`."""


class NormaliseConfig(Section):
    """How preparation writes the texts of system, user and assistant messages. What tools are given and give is not touched."""

    trim: bool = key(True)
    """Remove whitespace at both ends."""
    nfc: bool = key(True)
    """Compose characters as Unicode's normal form C does: `e` and a combining acute become `é`."""
    control: bool = key(True)
    """Write every line end as LF, and remove other control characters but tab, and byte order marks inside a text."""
    zero_width: bool = key(False)
    """Remove zero-width spaces, word joiners and soft hyphens; never what scripts and emoji are joined with."""


class FilterConfig(Section):
    """Which records preparation leaves out for their length: of all that the user says, or of all that the assistant says."""

    unit: Literal["characters", "words", "tokens"] = key("characters")
    """What lengths count: characters, words between whitespace, or tokens of the model's tokenizer."""
    min_prompt: int | None = key(None, ge=1)
    """The shortest prompt."""
    max_prompt: int | None = key(None, ge=1)
    """The longest prompt."""
    min_response: int | None = key(None, ge=1)
    """The shortest response."""
    max_response: int | None = key(None, ge=1)
    """The longest response."""


class SplitConfig(Section):
    """How preparation divides records; the three ratios sum to 1."""

    train_ratio: float = key(0.7, ge=0, le=1)
    """The share for training."""
    val_ratio: float = key(0.1, ge=0, le=1)
    """The share for validation, which is evaluated while training."""
    test_ratio: float = key(0.2, ge=0, le=1)
    """The share for a last test."""
    group_by: Name = key("question")
    """What keeps records together in one split. `question`: the same user messages. `none`: nothing. Else a field of `meta`
    (any field that the format does not know), such as `topic`."""
    by_source: bool = key(False)
    """Divide the records of each source by themselves, so that every split has the same shares of them."""


MixBy = Literal["examples", "tokens"]
EpochLength = Literal["total", "longest", "shortest"] | Annotated[int, Field(ge=1)]


TrainOn = Literal["assistant", "last_turn", "all"]
OverlongPolicy = Literal["truncate", "drop", "error", "split_turns"]


class MixConfig(Section):
    """How several training sets make an epoch; an evaluation set is always taken as it is."""

    by: MixBy = key("examples")
    """What the weights share out: `examples`, or their `tokens`."""
    epoch: EpochLength = key("total")
    """How much an epoch holds. `total`: as much as all sets together. `longest`: until the set that lasts longest at its
    share is seen once, while the others repeat. `shortest`: until the first one is used up, so that nothing repeats.
    A number: that many examples or tokens."""


RecordFormat = Literal[
    "auto", "messages", "chat", "qa", "prompt", "alpaca", "dolly", "sharegpt", "pairs", "oasst", "custom"
]
OasstPaths = Literal["best", "all"]


StyleMode = Literal["append", "prepend", "replace"]


class DataConfig(Section):
    """Where records come from and how they are read and printed."""

    raw_path: Paths = key("data/raw/", identity=False)
    """What `weft prepare` reads: a file, a directory, a pattern (`raw/*.csv`), a sample (`a.jsonl#500`), or a list of these.
    Also a dataset of the Hugging Face hub, `org/name:config@split`, with `weft[datasets]`."""
    format: RecordFormat = key("auto", identity=False, aliases=("data.sft.format",))
    """The format of the records. `auto` detects it per record; `chat` accepts any conversation record."""
    instruction_field: Name = key("instruction", identity=False, aliases=("data.sft.custom_format.instruction_field",))
    """With `format: custom`: the field that holds the question."""
    response_field: Name = key("response", identity=False, aliases=("data.sft.custom_format.response_field",))
    """With `format: custom`: the field that holds the answer."""
    system_field: Name = key("system", identity=False, aliases=("data.sft.custom_format.system_field",))
    """With `format: custom`: the field that holds the system message, in records that have one."""
    context_field: Name = key("context", identity=False, aliases=("data.sft.custom_format.context_field",))
    """With `format: custom`: the field whose text follows the question, behind a blank line, in records that have it."""
    oasst_paths: OasstPaths = key("best", identity=False)
    """Of a tree of messages (`oasst`): the path of the best-ranked messages, or every path to a last answer."""
    oasst_lang: list[Name] = key(default_factory=list, identity=False)
    """Languages, such as `en`, of the messages that are taken from a tree (`oasst`). Default: all."""
    template_path: Name | None = key(None, aliases=("data.template",))
    """The chat template: a `.jinja` file, or one of `chatml`, `instruct`, `chat`, `alpaca`, `llama3`, `gemma`, `mistral`, `phi3`,
    `qwen3`, `plain`. Default: the tokenizer's own, else `chatml` if its tokens exist."""
    instruction_response_separator: str | None = key(None, aliases=("data.sft.instruction_response_separator",))
    """What the template `plain` prints between an instruction and its response. Setting it chooses `plain`. Default:
    `"\\n\\n### Response:\\n"`."""
    train_path: Paths = key("data/processed/train.jsonl", identity=False)
    """The training records; written by `weft prepare`, read by everything else. Your own may be named as in `raw_path`."""
    val_path: Name = key("data/processed/val.jsonl", identity=False)
    """The validation records."""
    test_path: Name = key("data/processed/test.jsonl", identity=False)
    """The test records."""
    cache_dir: Name = key("data/cache", identity=False)
    """Where encoded examples are kept, keyed by their content; safe to delete."""
    jobs: Auto | Annotated[int, Field(ge=1)] = key("auto", identity=False)
    """How many processes encode examples; they make the same whatever their number. `auto`: one per core, for files of 8 MiB or
    more."""
    normalise: NormaliseConfig = key(default_factory=NormaliseConfig, identity=False)
    filter: FilterConfig = key(default_factory=FilterConfig, identity=False)
    near_duplicates: float | None = key(None, gt=0, le=1, identity=False)
    """Preparation leaves out records that are at least this similar to an earlier one, such as 0.8: the share of all pieces of
    five characters that both have (Jaccard). 1 is the same but for case and spacing. Default: none; exact duplicates always."""
    split: SplitConfig = key(default_factory=SplitConfig, identity=False)
    benchmarks: Paths | None = key(None, identity=False)
    """Files of questions that training must not know, named as in `raw_path`. `weft prepare` and `weft check` tell which of them
    training records ask or quote."""
    val_split_ratio: float = key(0.02, ge=0, lt=1)
    """The share of each of `datasets` that is held out for validation where there is no file `val_path`; 0 for none."""
    train_on: TrainOn = key("assistant")
    """Which tokens are trained. `assistant`: every turn of the assistant, its end token included. `last_turn`: only the last
    one of each conversation. `all`: the whole text, questions included."""
    overlong: OverlongPolicy = key("drop")
    """What becomes of examples that are longer than `model.max_seq_len`; always counted and listed. `drop`: left out.
    `error`: they stop it. `truncate`: cut after the last turn that fits, or within the first answer, which then keeps its
    end token. `split_turns`: several examples, cut before a question, each below the system message."""
    mix: MixConfig = key(default_factory=MixConfig)
    system_prompt: str | None = key(None)
    """A system message for records that have none, and for chat."""
    style: str | None = key(None)
    """An instruction added to every system message, in the prepared files and in chat."""
    style_mode: StyleMode = key("append")
    """Where a style goes: behind the text of a system message, before it, or in its place."""


class DatasetConfig(Section):
    """One of several training sets."""

    path: Paths = key(identity=False)
    """Records in any format: a file, a directory, a pattern (`a/*.jsonl`), a sample (`a.jsonl#500`), or a list of these.
    Also a dataset of the Hugging Face hub, `org/name:config@split`, with `weft[datasets]`."""
    name: Name | None = key(None, identity=False)
    """A name for reports. Default: the file's name without its ending."""
    format: RecordFormat = key("auto", identity=False)
    """The format of its records."""
    weight: float = key(1.0, ge=0)
    """The share of an epoch that it provides, relative to the other weights: of its examples or tokens (`data.mix`)."""
    loss_weight: float = key(1.0, ge=1e-6, le=1e6)
    """What each of its trained tokens counts in the loss, relative to those of the other sets; the sum of all weights is what
    a step divides by."""

    @property
    def called(self) -> str:
        """`name`, or else the first path's, without its endings."""
        if self.name:
            return self.name
        first = self.path if isinstance(self.path, str) else self.path[0]
        path = PurePath(re.sub(r"#\d+$", "", first))
        stem = PurePath(re.sub(r"\.(gz|zst)$", "", path.name, flags=re.IGNORECASE)).stem
        return stem if any(map(str.isalnum, stem)) else path.parent.name or stem


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

    sets: dict[str, Name] = key(default_factory=dict, identity=False)
    """Further evaluation sets, `name: path`, beside `train`, `val` and `test`."""
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
    mode: Literal["sft", "cpt", "cpt_mixed"] = key("sft", aliases=("task_mode",), pending=("cpt", "cpt_mixed"))
    """`sft`: learn answers. `cpt`: learn whole documents. `cpt_mixed`: both."""
    objective: Literal["causal", "diffusion"] = key("causal", pending=("diffusion",))
    """`causal`: predict the next token. `diffusion`: predict masked tokens."""
    block_size: int | None = key(None, ge=8, pending="any")
    """The length of document blocks in continued pretraining."""
    pack_factor: float | None = key(None, gt=0, pending="any")
    """How many documents make a block in continued pretraining."""
    on_bad_row: Literal["error", "drop"] = key("error", identity=False)
    """What to do with a record that cannot be used: stop, or drop it into a rejects file and count it."""
    datasets: list[DatasetConfig] = key(default_factory=list)
    """Several weighted training sets, in place of `data.train_path`."""
    model: ModelConfig = key(default_factory=ModelConfig)
    tuning: TuningConfig = key(default_factory=TuningConfig)
    train: TrainConfig = key(default_factory=TrainConfig)
    data: DataConfig = key(default_factory=DataConfig)
    gen: GenConfig = key(default_factory=GenConfig)
    eval: EvalConfig = key(default_factory=EvalConfig)
