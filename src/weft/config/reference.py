"""The pages that are generated from the schema: docs/config.md and configs/config_base.yaml.

python -m weft.config.reference --write     write both
python -m weft.config.reference --check     leave with 1 if one of them is not what the schema says
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from weft.config.data_schema import DatasetConfig
from weft.config.foreign import NAMES
from weft.config.keys import KEYS, Key
from weft.config.scalars import dump
from weft.config.schema import Config
from weft.config.section import Section

ROOT = Path(__file__).parents[3]

INTRODUCTION = """\
# Configuration

*Generated from `src/weft/config/schema.py` by `python -m weft.config.reference --write`. Do not edit.*

A configuration is one YAML file. Every key has a default, so the file holds only what differs:

```yaml
include: configs/config_base.yaml

model:
  name: Qwen/Qwen2.5-1.5B-Instruct
train:
  epochs: 5
  learning_rate: 1e-4
```

## Where values come from

Later wins: **defaults** < **included files** < **the file** < **environment** < **command line**.

- **Include.** `include:` takes a path or a list of paths. Each is looked for beside the including file, then in the
  directory that weft was started in. Later ones win over earlier ones, and the including file over all of them.
  Mappings are merged key by key; a list replaces the other list.
- **Environment.** `WEFT_TRAIN__EPOCHS=5`: two underscores for each dot, in upper or lower case; the entry of a list by
  its number, `WEFT_DATASETS__0__WEIGHT=0.8`. A variable that is nearly a key (`WEFT_EPOCHS`, `WEFT_MOED`) is an error; others,
  such as a `WEFT_CI` of your own scripts, are passed over.
- **Command line.** `weft train my.yaml train.epochs=5 tuning.lora.r=64 'datasets[0].weight=0.8'`. Entries count from 0
  and must exist. `key=` sets a value to null. A dotted name means the same in a file.

Values are YAML everywhere: `tuning.lora.target_modules='[q_proj, v_proj]'`. On the command line and in the environment,
what is not valid YAML, or is meant for a key that holds text, is taken as it stands: `data.style='Be kind: yes'`. In
files, too, a key that holds text keeps the text as written: `run_name: 2024`.

Some keys have precedence over others whatever the place: `train.max_steps` over `train.epochs`, `train.warmup_steps`
over `train.warmup_ratio`, `model.local_dir` over `model.name`, `datasets` over `data.train_path`.

## What values mean

weft reads the core schema of [YAML 1.2](https://yaml.org/spec/1.2.2/#103-core-schema): `2e-4` is a number; `true` and
`false` are the only booleans, so `no`, `on` and `yes` are words; `1:30` and `1_000` are text; `010` is ten. A number in
quotes is text, and an error where a number is needed. Nothing is converted silently.

All problems are reported together, each with file and line: unknown keys with the nearest name, wrong types, values out
of range, values that contradict each other.

## Aliases

Some keys have a second name, which means the same key. In one file, or on one command line, the two must not disagree;
between files, environment and command line the later one wins, whatever it is called.
"""

PENDING = """\
Values marked † are part of the language, but not acted on yet. Setting one is an error that says so, so that no setting
is ever ignored.
"""

FOREIGN = """\
## Names in other tools

These are not keys. An error names the key of weft that means the same.

| there | here |
|---|---|
"""

BASE_HEADER = """\
# Every key of weft with its default.
#
# Include this file, or copy from it what you change: a configuration needs only what differs from here.
#     weft train configs/config_base.yaml model.name=Qwen/Qwen2.5-0.5B train.epochs=1
#
# Generated from the schema by `python -m weft.config.reference --write`; docs/config.md has the same as tables.

"""


def markdown() -> str:
    """docs/config.md."""
    sections: list[tuple[str, str, type[Section]]] = [("Top level", "", Config), *_sections(Config)]
    tables = "\n".join(_table(title, prefix, section) for title, prefix, section in sections)
    foreign = "".join(f"| `{there}` | `{here}` |\n" for there, here in sorted(NAMES.items()))
    return f"{INTRODUCTION}\n## Keys\n\n{PENDING}\n{tables}\n{FOREIGN}{foreign}"


def base_yaml() -> str:
    """configs/config_base.yaml: reads back as exactly ``Config()``."""
    return BASE_HEADER + "\n".join(_yaml(Config, prefix="", indent="")) + "\n"


def _sections(section: type[Section], prefix: str = "") -> Iterator[tuple[str, str, type[Section]]]:
    """Title, prefix of the keys, and class of every section below, in order."""
    for name, field in section.model_fields.items():
        child = _section_of(field)
        if child is not None:
            yield f"`{prefix}{name}`", f"{prefix}{name}.", child
            yield from _sections(child, f"{prefix}{name}.")
        elif KEYS[prefix + name].accepts("sections"):
            yield f"`{prefix}{name}[]`", f"{prefix}{name}[].", DatasetConfig


def _section_of(field: FieldInfo) -> type[Section] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _table(title: str, prefix: str, section: type[Section]) -> str:
    keys = [KEYS[prefix + name] for name, field in section.model_fields.items() if _section_of(field) is None]
    rows = "".join(_row(key) for key in keys)
    heading = f"### {title}\n\n{_first_line(section)}\n\n"
    return heading + "| key | aliases | value | default | meaning |\n|---|---|---|---|---|\n" + rows


def _row(key: Key) -> str:
    aliases = ", ".join(f"`{alias}`" for alias in key.aliases)
    default = "required" if key.required else f"`{dump(key.default)}`"
    return f"| `{key.name}` | {aliases} | {_value_in_words(key, '†')} | {default} | {key.help} |\n"


def _value_in_words(key: Key, pending_mark: str) -> str:
    if key.pending == "any":
        return f"{key.expects} {pending_mark}"
    pending = "|".join(re.escape(dump(value)) for value in key.pending)
    return re.sub(rf"\b({pending})\b", rf"\1 {pending_mark}", key.expects) if pending else key.expects


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().partition("\n")[0]


def _yaml(section: type[Section], *, prefix: str, indent: str) -> Iterator[str]:
    """The lines of a section: for each key its help, its default, and what it takes; then the sections below."""
    children = {name: child for name, field in section.model_fields.items() if (child := _section_of(field))}
    for key in (KEYS[prefix + name] for name in section.model_fields if name not in children):
        yield from textwrap.wrap(key.help, width=118, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        setting = f"{indent}{key.name.removeprefix(prefix)}: {dump(key.default)}"
        yield (
            setting if key.expects.startswith("text") else f"{setting}  # {_value_in_words(key, '(not acted on yet)')}"
        )
    for name, child in children.items():
        yield ""
        yield f"{indent}# {_first_line(child)}"
        yield f"{indent}{name}:"
        yield from _yaml(child, prefix=f"{prefix}{name}.", indent=f"{indent}  ")


def main(arguments: list[str] | None = None) -> int:
    """Write or check the generated files; 1 where a check finds a stale one."""
    parser = argparse.ArgumentParser(prog="python -m weft.config.reference", description=__doc__.partition("\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the files")
    action.add_argument("--check", action="store_true", help="leave with 1 if a file is not current")
    options = parser.parse_args(arguments)
    stale = False
    for path, text in ((ROOT / "docs/config.md", markdown()), (ROOT / "configs/config_base.yaml", base_yaml())):
        if options.write:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(
                f"{path.relative_to(ROOT)} is not current: run `python -m weft.config.reference --write`",
                file=sys.stderr,
            )
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
