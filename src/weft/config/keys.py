"""The schema as a flat table: one :class:`Key` per dotted name, with what its type accepts in words.

``datasets[].path`` stands for the key in any entry of a list, ``eval.sets.*`` for any name under a free mapping.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from weft.config.schema import Config
from weft.config.section import Section

Kind = Literal["null", "choice", "bool", "int", "float", "text", "list", "map", "sections"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One of the forms that a value may take (a member of its type's union)."""

    kind: Kind
    choices: tuple[str, ...] = ()
    bounds: tuple[Any, ...] = ()
    item: tuple[Shape, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One configuration key."""

    name: str
    shapes: tuple[Shape, ...]
    default: Any
    """None also where the key is required."""
    required: bool
    section: type[Section]
    """Where it is declared,"""
    field: str
    """and as what."""
    aliases: tuple[str, ...]
    pending: tuple[Any, ...] | Literal["any"]
    """Values that are in the language but not acted on yet; ``"any"``: all but the default."""

    @property
    def help(self) -> str:
        """The docstring below its declaration, in one line."""
        return " ".join(_docstrings(self.section).get(self.field, "").split())

    def accepts(self, kind: Kind) -> bool:
        """Whether the value may take a form of this kind."""
        return any(shape.kind == kind for shape in self.shapes)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that are allowed, where words are listed."""
        return tuple(choice for shape in self.shapes for choice in shape.choices)

    @property
    def expects(self) -> str:
        """What a value must be, as the end of the sentence "must be …"."""
        return _in_words(self.shapes)


def _keys(section: type[Section], prefix: str = "") -> Iterator[Key]:
    for name, field in section.model_fields.items():
        annotation, full_name = field.annotation, prefix + name
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _keys(annotation, f"{full_name}.")
            continue
        key = _key(full_name, field, section, name)
        yield key
        if key.accepts("sections"):
            (item,) = get_args(annotation)
            yield from _keys(item, f"{full_name}[].")
        elif key.accepts("map"):
            (free,) = (shape for shape in key.shapes if shape.kind == "map")
            yield Key(
                name=f"{full_name}.*",
                shapes=free.item,
                default=None,
                required=False,
                section=section,
                field=name,
                aliases=(),
                pending=key.pending,
            )


@cache
def _docstrings(section: type[Section]) -> dict[str, str]:
    """By field. Pydantic reads them as well, but as often as a schema is imported, and only two generated pages need them."""
    found = dict(_docstrings(base)) if issubclass(base := section.__base__ or object, Section) else {}
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(declared, ast.ClassDef)
    for statement, below in pairwise(declared.body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def _key(name: str, field: FieldInfo, section: type[Section], declared_as: str) -> Key:
    marks = field.json_schema_extra
    assert isinstance(marks, dict), f"{name} is not declared with section.key()"
    return Key(
        name=name,
        shapes=tuple(_shapes(field.annotation, tuple(field.metadata))),
        default=None if field.is_required() else field.get_default(call_default_factory=True),
        required=field.is_required(),
        section=section,
        field=declared_as,
        aliases=tuple(marks["aliases"]),  # type: ignore[arg-type]
        pending="any" if marks["pending"] == "any" else tuple(marks["pending"]),  # type: ignore[arg-type]
    )


def _shapes(annotation: Any, bounds: tuple[Any, ...] = ()) -> Iterator[Shape]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *metadata = arguments
        for item in metadata:
            bounds += tuple(item.metadata) if isinstance(item, FieldInfo) else (item,)
        yield from _shapes(inner, bounds)
    elif origin in (Union, types.UnionType):
        for member in arguments:
            yield from _shapes(member, bounds)
    elif origin is Literal:
        yield Shape(kind="choice", choices=arguments)
    elif origin is list and isinstance(arguments[0], type) and issubclass(arguments[0], Section):
        yield Shape(kind="sections")
    elif origin is list:
        yield Shape(kind="list", item=tuple(_shapes(arguments[0])), bounds=bounds)
    elif origin is dict:
        yield Shape(kind="map", item=tuple(_shapes(arguments[1])))
    else:
        kinds: dict[Any, Kind] = {types.NoneType: "null", bool: "bool", int: "int", float: "float", str: "text"}
        kind = kinds[annotation]
        yield Shape(kind=kind, bounds=bounds)


def _in_words(shapes: tuple[Shape, ...]) -> str:
    words: list[str] = []
    for shape in shapes:
        match shape.kind:
            case "null":
                continue  # said last
            case "choice":
                words.extend(shape.choices)
            case "bool":
                words.extend(("true", "false"))
            case "int" | "float":
                words.append(("a whole number" if shape.kind == "int" else "a number") + _bounds_in_words(shape.bounds))
            case "text":
                words.append("text")
            case "list":
                words.append("a list of " + ("names" if shape.item[0].kind == "text" else _in_words(shape.item)))
            case "map":
                words.append("a mapping of names to " + _in_words(shape.item))
            case "sections":
                words.append("a list of entries")
    words.extend("null" for shape in shapes if shape.kind == "null")
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _bounds_in_words(bounds: tuple[Any, ...]) -> str:
    low = next((bound for bound in bounds if isinstance(bound, Ge | Gt)), None)
    high = next((bound for bound in bounds if isinstance(bound, Le | Lt)), None)
    below = "" if high is None else f"{high.le}" if isinstance(high, Le) else f"below {high.lt}"
    if isinstance(low, Gt):
        return f" above {low.gt}" + (f" and at most {below}" if below else "")
    if isinstance(low, Ge):
        return f" from {low.ge} to {below}" if below else f" of at least {low.ge}"
    return f" of at most {below}" if below else ""


KEYS: Mapping[str, Key] = {key.name: key for key in _keys(Config)}
"""Every key by its canonical name, in the order of the schema."""

ALIASES: Mapping[str, str] = {alias: key.name for key in KEYS.values() for alias in key.aliases}
"""Other names, to canonical ones."""

SECTIONS: frozenset[str] = frozenset(
    name[: match.start()] for name in (*KEYS, *ALIASES) for match in re.finditer(r"\.", name)
) - set(KEYS)
"""Names that hold keys (``train``, ``tuning.lora``, ``datasets[]``, and ``logging``, which has only aliases)."""


INDEX = re.compile(r"\[(0|[1-9][0-9]{0,5})\]")
"""The index of an entry in a list of sections, counted from 0."""


def generic(name: str) -> str:
    """The name with indices left out: ``datasets[0].path`` → ``datasets[].path``."""
    return INDEX.sub("[]", name)


def canonical(name: str) -> str:
    """The one name of a key that may be written by an alias; unknown names stay as they are, and indices where they are."""
    if name in ALIASES or generic(name) not in ALIASES:
        return ALIASES.get(name, name)
    indices = INDEX.finditer(name)
    return re.sub(r"\[\]", lambda _: next(indices)[0], ALIASES[generic(name)])


def find_key(name: str) -> Key | None:
    """The key of a canonical name, which may hold indices and free names; None where there is none."""
    key = KEYS.get(generic(name))
    if key is None:
        free = next((known for known in KEYS if known.endswith(".*") and name.startswith(known[:-1])), None)
        return KEYS[free] if free is not None and name != free[:-1] else None
    return key
