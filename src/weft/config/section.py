"""What every section of the configuration is made of: frozen groups of keys, with weft's own marks on each."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Name = Annotated[str, Field(min_length=1)]
"""Text that names something: never empty, because the empty path is the working directory."""

Place = Annotated[Name, AfterValidator(os.path.expanduser)]
"""A path, of which `~` is the home directory as it is for a shell (which leaves `data.raw_path=~/a.jsonl` as it is)."""

Paths = Place | Annotated[list[Place], Field(min_length=1)]
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
        protected_namespaces=(),
    )
