"""The sections ``data`` and ``datasets``: where records come from, how they are prepared, read, printed and mixed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field

from weft.config.section import Auto, Name, Paths, Place, Section, key


def of_configuration(path: Paths, configuration: str | None) -> Paths:
    """``org/name@split#500`` with a configuration: ``org/name:configuration@split#500``. Other paths, and None, change nothing;
    :func:`weft.config.checks.configurations_are_of_datasets` refuses them.
    """
    match = re.fullmatch(r"([^:@#]+)((?:@[^#]+)?(?:#\d+)?)", path) if isinstance(path, str) else None
    return path if match is None or configuration is None else f"{match[1]}:{configuration}{match[2]}"


CUSTOM_FIELDS = ("instruction_field", "response_field", "system_field", "context_field")
"""The keys that say how `format: custom` is read, of the section data and of each data set."""


class NormaliseConfig(Section):
    """How preparation writes the texts of documents and of system, user and assistant messages. What tools are given and give is
    not touched.
    """

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
    """What keeps records together in one split. `question`: the same user messages, or one that another record asks among others.
    `none`: only the same messages, but for the system message. Else a field of `meta` (any field that the format does not know),
    such as `topic`: its value, and questions as well."""
    by_source: bool = key(False)
    """Divide the records of each source by themselves, so that every split has the same shares of them."""


MixBy = Literal["examples", "tokens"]
EpochLength = Literal["total", "longest", "shortest"] | Annotated[int, Field(ge=1)]


TrainOn = Literal["assistant", "last_turn", "all"]
OverlongPolicy = Literal["truncate", "drop", "error", "split_turns"]
PromptMismatch = Literal["template", "splice", "error"]


class MixConfig(Section):
    """How several training sets make an epoch; an evaluation set is always taken as it is."""

    by: Auto | MixBy = key("auto")
    """What the weights share out: `examples`, or their `tokens`. `auto`: tokens with `mode: cpt_mixed`, because a document may be
    as long as many conversations; else examples."""
    epoch: EpochLength = key("total")
    """How much an epoch holds. `total`: as much as all sets together. `longest`: until the set that lasts longest at its
    share is seen once, while the others repeat. `shortest`: until the first one is used up, so that nothing repeats.
    A number: that many examples or tokens."""


RecordFormat = Literal[
    "auto",
    "messages",
    "chat",
    "qa",
    "prompt",
    "alpaca",
    "dolly",
    "sharegpt",
    "pairs",
    "oasst",
    "custom",
    "text",
    "lines",
]
OasstPaths = Literal["best", "all"]


StyleMode = Literal["append", "prepend", "replace"]


class DataConfig(Section):
    """Where records come from and how they are read and printed."""

    raw_path: Paths = key("data/raw/", identity=False)
    """What `weft prepare` reads: a file, a directory, a pattern (`raw/*.csv`), a sample (`a.jsonl#500`), or a list of these.
    Also a dataset of the Hugging Face hub, `org/name:config@split`, with `weft[datasets]`."""
    format: RecordFormat = key("auto", identity=False, aliases=("data.sft.format",))
    """The format of the records. `auto` detects it per record; `chat` accepts any conversation record, `text` documents. `lines`
    is `text`, and each line of a `.txt` or `.md` file is a document."""
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
    template_path: Place | None = key(None, aliases=("data.template",))
    """The chat template: a `.jinja` file, or one of `chatml`, `instruct`, `chat`, `alpaca`, `llama3`, `gemma`, `mistral`, `phi3`,
    `qwen3`, `plain`. Default: the tokenizer's own, else `chatml` if its tokens exist."""
    instruction_response_separator: str | None = key(None, aliases=("data.sft.instruction_response_separator",))
    """What the template `plain` prints between an instruction and its response. Setting it chooses `plain`. Default:
    `"\\n\\n### Response:\\n"`."""
    train_path: Paths = key("data/processed/train.jsonl", identity=False, aliases=("data.dataset_name",))
    """The training records; written by `weft prepare`, read by everything else. Your own may be named as in `raw_path`."""
    dataset_config_name: Name | None = key(None, identity=False)
    """The configuration of the dataset that `train_path` names: `org/name` with it is the same as `org/name:config`."""
    val_path: Place = key("data/processed/val.jsonl", identity=False)
    """The validation records."""
    test_path: Place = key("data/processed/test.jsonl", identity=False)
    """The test records."""
    cache_dir: Place = key("data/cache", identity=False)
    """Where encoded examples are kept, keyed by their content; safe to delete."""
    jobs: Auto | Annotated[int, Field(ge=1)] = key("auto", identity=False)
    """How many processes encode examples, prepare, and search for benchmarks; they make the same whatever their number. `auto`:
    one per core where there is enough to do, such as files of 8 MiB or more to encode."""
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
    prompt_mismatch: PromptMismatch = key("template")
    """What an answer follows where the template's generation prompt is not what it prints before an answer. `template`: what
    the template prints before it, in training and in weft's own answers. `splice`: the generation prompt, as any server feeds
    it. `error`: nothing is trained. Always counted."""
    mix: MixConfig = key(default_factory=MixConfig)
    system_prompt: str | None = key(None)
    """A system message for records that have none, and for chat."""
    include_system_prompt: bool = key(True, aliases=("data.sft.include_system_prompt",))
    """Whether records keep their system messages. `false`: all are left out, counted, and none is added."""
    style: str | None = key(None)
    """An instruction added to every system message, in the prepared files and in chat."""
    style_mode: StyleMode = key("append")
    """Where a style goes: behind the text of a system message, before it, or in its place."""

    @property
    def training(self) -> Paths:
        """`train_path`, with its configuration."""
        return of_configuration(self.train_path, self.dataset_config_name)


class DatasetConfig(Section):
    """One of several training sets."""

    path: Paths = key(identity=False, aliases=("data.hf_datasets[].name",))
    """Records in any format: a file, a directory, a pattern (`a/*.jsonl`), a sample (`a.jsonl#500`), or a list of these.
    Also a dataset of the Hugging Face hub, `org/name:config@split`, with `weft[datasets]`."""
    config: Name | None = key(None, identity=False, aliases=("data.hf_datasets[].config",))
    """The configuration of the dataset that `path` names: `org/name` with it is the same as `org/name:config`."""
    name: Name | None = key(None, identity=False)
    """A name for reports. Default: the file's name without its ending, or the whole path where another set has that name."""
    format: RecordFormat | None = key(None, identity=False)
    """The format of its records. Default: `data.format`."""
    instruction_field: Name | None = key(None, identity=False, aliases=("datasets[].custom_format.instruction_field",))
    """With its `format: custom`: the field that holds the question. Default: `data.instruction_field`."""
    response_field: Name | None = key(None, identity=False, aliases=("datasets[].custom_format.response_field",))
    """With its `format: custom`: the field that holds the answer. Default: `data.response_field`."""
    system_field: Name | None = key(None, identity=False, aliases=("datasets[].custom_format.system_field",))
    """With its `format: custom`: the field that holds the system message. Default: `data.system_field`."""
    context_field: Name | None = key(None, identity=False, aliases=("datasets[].custom_format.context_field",))
    """With its `format: custom`: the field whose text follows the question. Default: `data.context_field`."""
    weight: float | None = key(None, ge=0, aliases=("data.hf_datasets[].weight",))
    """The share of an epoch that it provides, relative to the other weights: of its examples or tokens (`data.mix`). Where no
    entry that is trained has one, each provides what it holds; beside others that have one, it is 1. 0: nothing is trained."""
    loss_weight: float = key(1.0, ge=1e-6, le=1e6)
    """What each of its trained tokens counts in the loss, relative to those of the other sets; the sum of all weights is what
    a step divides by."""

    @property
    def training(self) -> Paths:
        """`path`, with its configuration."""
        return of_configuration(self.path, self.config)

    @property
    def is_trained(self) -> bool:
        """Whether an epoch takes something of it."""
        return self.weight != 0

    @property
    def called(self) -> str:
        """`name`, or else the first path's, without its endings."""
        if self.name:
            return self.name
        path = PurePath(re.sub(r"#\d+$", "", self.first))
        stem = PurePath(re.sub(r"\.(gz|zst)$", "", path.name, flags=re.IGNORECASE)).stem
        return stem if any(map(str.isalnum, stem)) else path.parent.name or stem

    @property
    def first(self) -> str:
        """Its first path, with its configuration."""
        return self.training if isinstance(self.training, str) else self.training[0]


def named_apart(entries: list[DatasetConfig]) -> list[DatasetConfig]:
    """The entries, of which those that have no name, and would be called as another one is, are named by their whole paths."""
    count = Counter(entry.called for entry in entries)
    return [
        entry if entry.name or count[entry.called] == 1 else entry.model_copy(update={"name": entry.first})
        for entry in entries
    ]
