"""Tell what this machine and this installation can do: versions, devices, the number types that are chosen and why, optional
packages with the command that installs them, the Hugging Face cache, and whether weft can write where it writes.

Needs no configuration and reaches no network. The exit code is 1 if something that training needs is missing.

Examples:
  weft doctor
  weft doctor --json         to attach to a report
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from weft.commands.arguments import add_json, console, emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look, and print the page."""
    from weft.models.environment import describe, find_problems

    found = describe()
    try:
        from weft.models import hardware

        found["hardware"] = hardware.describe()
    except (ImportError, OSError) as problem:  # a broken torch is what a doctor must survive
        found["hardware"] = {"problem": str(problem)}
    found["problems"] = find_problems(found)
    emit(args, found, lambda: console().print("\n".join(_page(found))))
    return 1 if found["problems"] else 0


def _page(found: dict[str, Any]) -> Iterator[str]:
    yield f"weft {found['weft']}, Python {found['python']} ({found['executable']})"
    yield found["platform"]
    yield from _section("libraries", {name: version or "missing" for name, version in found["libraries"].items()})
    yield from _section("hardware", dict(_hardware(found["hardware"])))
    extras = {name: "installed" if fix is None else f"not installed; {fix}" for name, fix in found["extras"].items()}
    yield from _section("optional", extras)
    hub = found["hub"]
    yield from _section(
        "hub",
        {
            "cache": f"{hub['cache']} ({'writable' if hub['cache writable'] else 'not writable'})",
            "network": "off (HF_HUB_OFFLINE)" if hub["offline"] else "used where a model is not in the cache",
            "token": "present" if hub["token"] else "none; gated models need one: hf auth login",
        },
    )
    yield from _section("writable", {name: "yes" if can else "no" for name, can in found["writable"].items()})
    yield ""
    yield from (f"problem: {problem}" for problem in found["problems"] or [])
    if not found["problems"]:
        yield "no problems"


def _section(title: str, lines: dict[str, str]) -> Iterator[str]:
    width = max(map(len, lines), default=0) + 2
    yield f"\n{title}"
    yield from (f"  {name:<{width}}{text}" for name, text in lines.items())


def _hardware(hardware: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "problem" in hardware:
        yield "torch", hardware["problem"]
        return
    cpu, dtype = hardware["cpu"], hardware["dtype"]
    yield "processor", f"{cpu['cores']} cores, {cpu['instructions']}, torch uses {cpu['torch threads']} threads"
    yield "bfloat16", ", ".join(cpu["bfloat16 instructions"]) or "no processor instructions for it"
    yield "memory", f"{cpu['memory bytes'] / 2**30:.1f} GiB, {cpu['free memory bytes'] / 2**30:.1f} free"
    for gpu in hardware["gpus"]:
        yield "GPU", f"{gpu['name']}, {gpu['memory bytes'] / 2**30:.1f} GiB, compute capability {gpu['capability']}"
    yield "device", hardware["device"]
    for use in ("frozen weights", "trained weights", "computation"):
        yield use, dtype[use]
    yield "because", dtype["why"]
