"""Message trees in the form of OpenAssistant: a record is one message, which names the one that it replies to.

A tree has as many conversations as replies without a reply of their own. Either all of them are taken, or the one that follows
the best-ranked reply at each step. Every message is accounted for: it is on a path that was taken, left out for a named reason,
or a bad row. (Trees whose messages hold their replies are :mod:`weft.data.oasst_nested`'s, which makes such messages of them.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from weft.data.beside import joined_with_meta, source_of
from weft.data.reading import Reading
from weft.data.row_error import RowError, kind_of
from weft.data.tools import NOTHING
from weft.data.turn_order import check_turns
from weft.types import Conversation, Message, Record, Role

_FIELDS = frozenset({"message_id", "role", "text"})
_PLACES = frozenset({"parent_id", "message_tree_id", "tree_state"})
"""One of these beside the fields makes a record a message of a tree: a first message may lack a ``parent_id``."""
MAPPING = ("message_id, parent_id → order", "role → role", "text → messages")

DELETED = "deleted, or a reply to a deleted message"
LANGUAGE = "of another language than data.oasst_lang, or a reply to such a message"
NO_LANGUAGE = "without a language (lang) for data.oasst_lang to choose by, or a reply to such a message"
WORSE = "not on the best-ranked path (data.oasst_paths: best)"
NO_ANSWER = "not followed by an answer"
SPOILT = "on a path that cannot be used"

_ROLES: dict[Any, Role] = {"prompter": "user", "user": "user", "assistant": "assistant"}


def is_message(data: Any) -> bool:
    """Whether a record is a message of a tree."""
    return isinstance(data, Mapping) and are_fields(data.keys())


def are_fields(names: AbstractSet[str]) -> bool:
    """Whether records with fields of these names are messages of trees."""
    return names >= _FIELDS and not names.isdisjoint(_PLACES)


@dataclass(frozen=True, kw_only=True)
class Trees:
    """What a file of messages holds."""

    conversations: tuple[Conversation, ...]
    """In the order of their last messages."""
    bad: tuple[tuple[Record, RowError], ...]
    left_out: Mapping[str, int]
    """How many messages no conversation holds, by reason."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Node:
    record: Record
    place: int
    """Among the messages of the file."""
    id: str
    parent: str | None
    role: Role
    text: str
    rank: float
    lang: str | None
    deleted: bool


def read_trees(records: Sequence[Record], reading: Reading, *, source: str | None) -> Trees:
    """The conversations in the messages of one file.

    Args:
        records: messages of trees, in any order.
        reading: which paths, and which languages.
        source: the conversations' source.
    """
    bad: list[tuple[Record, RowError]] = []
    nodes: dict[str, _Node] = {}
    for place, record in enumerate(records):
        try:
            node = _node(record, place)
            if node.id in nodes:
                raise _error("two messages have the same message_id", record, repr(node.id), "keep one of them")
            nodes[node.id] = node
        except RowError as error:
            bad.append((record, error))
    replies: dict[str | None, list[_Node]] = {}
    for node in nodes.values():
        replies.setdefault(node.parent, []).append(node)
    reached: set[str] = set()
    left_out: Counter[str] = Counter()
    found: dict[int, Conversation] = {}
    for root in replies.get(None, ()):
        tree = list(_walk(root, replies))
        reached |= {node.id for node in tree}
        used, chosen, spoilt = set[str](), set[str](), set[str]()
        for path in _paths(root, nodes, replies, reading):
            names = {node.id for node in path}
            chosen |= names
            try:
                found[path[-1].place] = _conversation(path, source)
                used |= names
            except RowError as error:
                bad.append((path[-1].record, error))
                spoilt.add(path[-1].id)
        reasons = _reasons(root, replies, reading, chosen)
        accounted = used | spoilt
        left_out.update(reason for name, reason in reasons.items() if name not in accounted)
    bad += [(node.record, _lost(node)) for node in nodes.values() if node.id not in reached]
    return Trees(conversations=tuple(found[place] for place in sorted(found)), bad=tuple(bad), left_out=dict(left_out))


def _walk(root: _Node, replies: Mapping[str | None, Sequence[_Node]]) -> Iterator[_Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += replies.get(node.id, ())


def _paths(
    root: _Node, nodes: Mapping[str, _Node], replies: Mapping[str | None, Sequence[_Node]], reading: Reading
) -> list[list[_Node]]:
    """Each path from the root, as far as its last answer; a path that is the beginning of another one is none of its own."""
    found: dict[str, list[_Node]] = {}
    waiting = [root] if _exclusion(root, reading) is None else []
    while waiting:
        node = waiting.pop()
        following = [reply for reply in replies.get(node.id, ()) if _exclusion(reply, reading) is None]
        if reading.oasst_paths == "best" and following:
            following = [min(following, key=lambda reply: (reply.rank, reply.place))]
        waiting += following
        path = [] if following else _path_to(node, nodes)
        while path and path[-1].role != "assistant":
            path.pop()
        if path:
            found[path[-1].id] = path
    inner = {node.id for path in found.values() for node in path[:-1]}
    return [path for last, path in found.items() if last not in inner]


def _path_to(node: _Node, nodes: Mapping[str, _Node]) -> list[_Node]:
    path = [node]
    while path[-1].parent is not None:
        path.append(nodes[path[-1].parent])
    return path[::-1]


def _exclusion(node: _Node, reading: Reading) -> str | None:
    if node.deleted:
        return DELETED
    if not reading.oasst_lang or node.lang in reading.oasst_lang:
        return None
    return LANGUAGE if node.lang else NO_LANGUAGE


def _reasons(
    root: _Node, replies: Mapping[str | None, Sequence[_Node]], reading: Reading, chosen: set[str]
) -> dict[str, str]:
    """Why each message of a tree is left out, should no conversation hold it; ``chosen`` are those on a path."""
    reasons: dict[str, str] = {}
    waiting: list[tuple[_Node, str | None]] = [(root, None)]
    while waiting:
        node, above = waiting.pop()
        reason = above or _exclusion(node, reading)
        reasons[node.id] = SPOILT if node.id in chosen else reason or NO_ANSWER
        following = replies.get(node.id, ())
        was_chosen = reading.oasst_paths == "best" and any(reply.id in chosen for reply in following)
        for reply in following:
            worse = _exclusion(reply, reading) or WORSE if was_chosen and reply.id not in chosen else None
            waiting.append((reply, reason or worse))
    return reasons


def _conversation(path: Sequence[_Node], source: str | None) -> Conversation:
    last = path[-1]
    messages = tuple(Message(role=node.role, content=node.text) for node in path)
    try:
        check_turns(messages)
        meta = _meta(path)
    except RowError as error:
        raise _error(error.reason, last.record, error.detail, error.fix) from None
    return Conversation(
        messages=messages,
        location=last.record.location,
        id=last.id,
        source=source_of(path[0].record.data) or source,
        meta=meta,
    )


def _meta(path: Sequence[_Node]) -> dict[str, Any]:
    """Which tree it is, the language, and what the first message says of the tree, as a record of another format would."""
    root, last = path[0], path[-1]
    said = root.record.data
    beside = _named_tree(path)
    if last.lang is not None:
        beside["lang"] = last.lang
    if said.get("source") is not None and source_of(said) is None:
        beside["source"] = said["source"]
    return {"message_tree_id": root.id, **joined_with_meta(beside, said.get("meta"))}


def _named_tree(path: Sequence[_Node]) -> dict[str, Any]:
    """The ``message_tree_id`` that messages give, if one does."""
    names = [name for node in path if (name := node.record.data.get("message_tree_id")) not in NOTHING]
    others = [name for name in names if name != names[0]]
    if others:
        raise RowError(
            "the messages of a tree name different trees",
            detail=f"{names[0]!r:.40} and {others[0]!r:.40}",
            fix="correct their message_tree_id",
        )
    return {"message_tree_id": names[0]} if names else {}


def _node(record: Record, place: int) -> _Node:
    data = record.data

    def field(name: str, kinds: tuple[type, ...], what: str) -> Any:
        value = data.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _error(f'the field "{name}" must be {what}', record, f"found {kind_of(value)}", "correct it")
        return value

    nothing = type(None)
    role = field("role", (str,), "text")
    if role not in _ROLES:
        raise _error(
            "a message of a tree has an unknown role", record, f"{role!r:.40}", 'write "prompter" or "assistant"'
        )
    rank = field("rank", (int, float, nothing), "a number")
    return _Node(
        record=record,
        place=place,
        id=field("message_id", (str,), "text"),
        parent=field("parent_id", (str, nothing), "text, or null for a first message") or None,
        role=_ROLES[role],
        text=field("text", (str,), "text"),
        rank=float("inf") if rank is None else rank,
        lang=field("lang", (str, nothing), "text"),
        deleted=bool(field("deleted", (bool, nothing), "true or false")),
    )


def _lost(node: _Node) -> RowError:
    return _error(
        "no first message leads to a message",
        node.record,
        f"its parent_id is {node.parent!r}",
        "put all messages of a tree into one file, the first of them with the parent_id null",
    )


def _error(reason: str, record: Record, detail: str, fix: str | None) -> RowError:
    return RowError(reason, detail=detail, where=record.location, fix=fix)
