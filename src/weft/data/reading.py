"""How records are to be read: the format that is asked for, and what some formats need to be told besides."""

from __future__ import annotations

from typing import NamedTuple

from weft.config.schema import DataConfig, OasstPaths, RecordFormat

TREES: tuple[RecordFormat, ...] = ("auto", "chat", "oasst")
"""The formats under which messages of trees are read."""


class Reading(NamedTuple):
    """A format with its settings; see the keys of the same names under ``data``."""

    format: RecordFormat = "auto"
    instruction_field: str = "instruction"
    response_field: str = "response"
    system_field: str = "system"
    context_field: str = "context"
    oasst_paths: OasstPaths = "best"
    oasst_lang: tuple[str, ...] = ()

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


def reading_of(data: DataConfig, format: RecordFormat) -> Reading:
    """The format ``format`` with those settings of a configuration that matter to it."""
    if format == "custom":
        return Reading(
            format=format,
            instruction_field=data.instruction_field,
            response_field=data.response_field,
            system_field=data.system_field,
            context_field=data.context_field,
        )
    if format in TREES:
        return Reading(format=format, oasst_paths=data.oasst_paths, oasst_lang=tuple(data.oasst_lang))
    return Reading(format=format)
