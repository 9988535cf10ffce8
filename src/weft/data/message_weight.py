"""What a message says about its own share in the loss: ``"train": false``, or ``"weight": 0.5``."""

from __future__ import annotations

from typing import Any

from weft.data.row_error import Data, RowError, kind_of

_SWITCHES = ("train", "training")
WEIGHTS = (*_SWITCHES, "weight")
"""The fields of a message that say what its tokens count: OpenAI's ``weight``, and Axolotl's ``train``."""
_DETAILS = ("train_detail", "training_detail")

_LEAST, _MOST = 1e-6, 1e6  # as for datasets[].loss_weight: what float32 can multiply and sum


def read_weight(item: Data, number: int) -> float | None:
    """What each token of a message is to count in the loss; None where the message leaves that to ``data.train_on``.

    Args:
        item: the message as read.
        number: its place in the conversation, from 1, for the error.

    Raises:
        RowError: ``train`` is not true or false, ``weight`` is no number that can be used, or the two contradict each other.
    """
    for field in _DETAILS:
        if item.get(field):
            raise RowError(
                "choosing parts of a message is not supported",
                detail=f'message {number} has "{field}"',
                fix='choose whole messages, with "train" or "weight"',
            )
    switches = {field: _switch(item[field], field, number) for field in _SWITCHES if item.get(field) is not None}
    weight = None if item.get("weight") is None else _weight(item["weight"], number)
    said = {*switches.values(), *(() if weight is None else (weight > 0,))}
    if len(said) > 1:
        fields = " and ".join(f'"{field}"' for field in WEIGHTS if item.get(field) is not None)
        raise RowError(
            f"{fields} of a message contradict each other", detail=f"message {number}", fix="keep one of them"
        )
    if weight is None and switches:
        return float(said == {True})
    return weight


def _switch(value: Any, field: str, number: int) -> bool:
    if not isinstance(value, bool):
        raise RowError(
            f'a message\'s "{field}" must be true or false',
            detail=f"message {number} has {kind_of(value)}",
            fix='write true or false; how much a message counts is its "weight"',
        )
    return value


def _weight(value: Any, number: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = kind_of(value)
    elif value == 0 or _LEAST <= value <= _MOST:
        return float(value)
    else:
        found = f"{value:g}" if -_MOST <= value <= _MOST else "one that is too large" if value > 0 else "another one"
    raise RowError(
        'a message\'s "weight" must be 0 or a number from 0.000001 to 1000000',
        detail=f"message {number} has {found}",
        fix="write 0 for a message that is only read, 1 for one that is trained like others",
    )
