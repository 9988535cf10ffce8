"""How records are to be read: the format that is asked for, and what some formats need to be told besides."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from weft.config.data_schema import DataConfig, DatasetConfig, OasstPaths, RecordFormat
    from weft.config.schema import Mode


TREES: tuple[RecordFormat, ...] = ("auto", "chat", "oasst")
"""The formats under which messages of trees are read."""
DOCUMENTS: tuple[RecordFormat, ...] = ("text", "lines")
"""The formats of documents."""


class Reading(NamedTuple):
    """A format with its settings; see the keys of the same names under ``data``, and ``mode``."""

    format: RecordFormat = "auto"
    instruction_field: str = "instruction"
    response_field: str = "response"
    system_field: str = "system"
    context_field: str = "context"
    own: tuple[str, ...] = ()
    """Which of these the data set names itself, and not the section ``data``."""
    detects: bool = False
    """With ``custom``: whether records that lack the fields of question and answer are read as ``auto`` reads them."""
    oasst_paths: OasstPaths = "best"
    oasst_lang: tuple[str, ...] = ()
    include_system_prompt: bool = True
    mode: Mode = "sft"
    """What is trained, conversations (``sft``), documents (``cpt``) or both, and so what a record may be."""
    trains_all: bool = False
    """Whether the whole text is trained (``data.train_on: all``), so that answers in a prompt count as well."""

    def is_custom(self, fields: Container[str]) -> bool:
        """Whether a record with these fields is read in the custom format."""
        if self.format != "custom":
            return False
        return not self.detects or (self.instruction_field in fields and self.response_field in fields)

    def key(self, name: str) -> str:
        """The configuration key that gives a field its name."""
        return f"datasets[].{name}" if name in self.own else f"data.{name}"

    def optional_fields(self) -> dict[str, str]:
        """With ``custom``: the fields that a record may lack, and what they mean; none that is the question or the answer."""
        meaning = {self.context_field: "user", self.system_field: "system"}
        return {
            field: role for field, role in meaning.items() if field not in (self.instruction_field, self.response_field)
        }

    def named_fields(self) -> dict[str, str]:
        """The fields that a record may lack and that are not called as they are by default, by the key that names them."""
        default = Reading()
        return {
            key: getattr(self, key)
            for key in ("system_field", "context_field")
            if getattr(self, key) != getattr(default, key)
        }


def by_line(format: RecordFormat | Reading) -> bool:
    """Whether each line of a text file is a record."""
    return (format.format if isinstance(format, Reading) else format) == "lines"


def reads_trees(reading: Reading) -> bool:
    """Whether messages of trees are put together."""
    return reading.format in TREES and reading.mode != "cpt"


def reading_of(
    data: DataConfig, format: RecordFormat, mode: Mode = "sft", dataset: DatasetConfig | None = None
) -> Reading:
    """The format ``format`` with those settings of a configuration that matter to it; a data set's own come first."""
    reading = Reading(
        format=format,
        mode=mode,
        include_system_prompt=data.include_system_prompt,
        trains_all=data.train_on == "all",
    )
    if format == "custom":
        from weft.config.data_schema import CUSTOM_FIELDS  # here, because helper processes know no configuration

        own = {name: getattr(dataset, name, None) for name in CUSTOM_FIELDS}
        own = {name: field for name, field in own.items() if field is not None}
        return reading._replace(**{name: getattr(data, name) for name in CUSTOM_FIELDS} | own, own=tuple(own))
    if format in TREES:
        return reading._replace(oasst_paths=data.oasst_paths, oasst_lang=tuple(data.oasst_lang))
    return reading
