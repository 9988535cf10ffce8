"""A tokenizer's directory, read as Transformers reads it and without Transformers.

``tokenizer.json`` holds the vocabulary. Around it, other files add tokens, name the special ones and the stops, and hold
the chat template; this module joins them into one description. Where Transformers would quietly grow the vocabulary for a
token that it lacks, which makes ids that the model has no weights for, this is an error.

A SentencePiece model is read as the directory that it would be converted to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.data.closed_tokenizer import Spec
from weft.data.own_template import CONFIG, FILES, OwnTemplate, own_template
from weft.data.sentencepiece_convert import as_files, as_tokenizer_config, as_tokenizer_json
from weft.data.sentencepiece_file import read_sentencepiece
from weft.data.sentencepiece_verify import verify
from weft.data.spelled_out import in_full
from weft.errors import ModelError

_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerFiles:
    """What a directory says about its tokenizer."""

    place: Path
    """The directory, or the SentencePiece model."""
    spec: Spec
    """``tokenizer.json``, its ``added_tokens`` completed from the other files; special ones are marked ``special``."""
    named: Mapping[str, str]
    """``bos_token``, ``eos_token``, … and their strings; names without a token are absent."""
    stops: tuple[str, ...]
    """``eos_token``, then every ``eos_token_id`` of ``generation_config.json``."""
    template: OwnTemplate | None
    fingerprint: str
    """SHA-256 over the names and bytes of the files that were read."""
    config: Spec = field(default_factory=dict)
    """``tokenizer_config.json``."""
    made: Mapping[str, bytes] = field(default_factory=dict)
    """Files that other programs need to read the same tokenizer, and that ``place`` does not hold in this form."""
    new: tuple[str, ...] = ()
    """Added tokens that the model was not trained with."""
    notices: tuple[str, ...] = ()
    """What is to be said about it."""


def read_tokenizer_files(place: Path) -> TokenizerFiles:
    """Read a directory with a ``tokenizer.json``, or a SentencePiece model.

    Raises:
        ModelError: a file is missing or broken, or a token is named that the vocabulary lacks.
    """
    return _read_sentencepiece(place) if place.is_file() else _read_directory(place)


def _read_sentencepiece(path: Path) -> TokenizerFiles:
    model = read_sentencepiece(path)
    spec, config = as_tokenizer_json(model), as_tokenizer_config(model)
    made = as_files(spec, config, path)
    if "eos_token" not in model.named:
        raise _no_stop(path, "train it with an eos_id, or name a directory with a tokenizer.json and an eos_token")
    return TokenizerFiles(
        place=path,
        spec=spec,
        named=model.named,
        stops=(model.named["eos_token"],),
        template=None,
        fingerprint=hashlib.sha256(made["tokenizer.json"] + made["tokenizer_config.json"]).hexdigest(),
        config=config,
        made=made,
        notices=verify(model, spec, path),
    )


def _read_directory(directory: Path) -> TokenizerFiles:
    try:
        return _read(directory)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"its tokenizer files are not shaped as expected ({type(error).__name__}: {error})",
            where=str(directory),
            fix="download the model again",
        ) from error


def _read(directory: Path) -> TokenizerFiles:
    reader = _Reader(directory)
    spec = reader.json("tokenizer.json")
    if spec is None:
        raise _no_tokenizer(directory)
    if not (isinstance(spec.get("model"), dict) and isinstance(spec["model"].get("vocab"), dict | list)):
        where = str(directory / "tokenizer.json")
        raise ModelError('it has no "model" with a "vocab"', where=where, fix="download the model again")
    spec = in_full(spec, directory / "tokenizer.json")
    config = reader.json(CONFIG) or {}
    generation = reader.json("generation_config.json") or {}
    settings, added = dict(config), _AddedTokens(spec, directory)
    if "added_tokens_decoder" in config:
        added.declare(config["added_tokens_decoder"])
    else:  # as Transformers does: the older files count where the newer list is absent
        settings |= reader.json("special_tokens_map.json") or {}
        older = reader.json("added_tokens.json") or {}
        added.declare({index: {"content": content, "special": False} for content, index in older.items()})
    named = {name: _content(settings[name]) for name in _NAMES if settings.get(name)}
    for name, token in named.items():
        added.mark_special(token, settings[name], f"its {name}")
    for name in _LISTS:
        for token in _as_list(settings.get(name)):
            added.mark_special(_content(token), token, f"one of its {name}")
    stops = [named["eos_token"]] if "eos_token" in named else []
    stops += [added.stop(index) for index in _as_list(generation.get("eos_token_id"))]
    if not stops:
        raise _no_stop(directory, 'name one as "eos_token" in tokenizer_config.json')
    templates = {name: text for name, path in FILES.items() if (text := reader.text(path)) is not None}
    return TokenizerFiles(
        place=directory,
        spec={**spec, "added_tokens": added.tokens()},
        named=named,
        stops=tuple(dict.fromkeys(stops)),
        template=own_template(templates, config.get("chat_template"), directory),
        fingerprint=reader.fingerprint(),
        config=config,
    )


def _no_stop(place: Path, fix: str) -> ModelError:
    return ModelError("the tokenizer names no token that ends an answer", where=str(place), fix=fix)


class _Reader:
    """Reads files of one directory and remembers what it read."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._digest = hashlib.sha256()

    def text(self, name: str) -> str | None:
        """A file's text, or None where there is no such file."""
        path = self._directory / name
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ModelError(
                f"it cannot be read: {error.strerror}", where=str(path), fix="check its permissions"
            ) from error
        self._digest.update(f"{name}\0{len(raw)}\0".encode() + raw)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ModelError(
                f"it is not UTF-8 (byte {error.start})", where=f"{path}:{line}", fix="download the model again"
            ) from None

    def json(self, name: str) -> Spec | None:
        """A file's JSON object, or None where there is no such file."""
        text, path = self.text(name), self._directory / name
        if text is None:
            return None
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ModelError(
                f"it is not valid JSON: {error}", where=str(path), fix="download the model again"
            ) from None
        if not isinstance(value, dict):
            raise ModelError("it is not a JSON object", where=str(path), fix="download the model again")
        return value

    def fingerprint(self) -> str:
        return self._digest.hexdigest()


class _AddedTokens:
    """The added tokens of a ``tokenizer.json``, completed by what other files say about them."""

    def __init__(self, spec: Spec, directory: Path):
        self._by_content: dict[str, Spec] = {token["content"]: token for token in spec.get("added_tokens") or ()}
        self._directory = directory
        vocab = spec["model"]["vocab"]
        pieces = vocab.items() if isinstance(vocab, dict) else ((piece, i) for i, (piece, _) in enumerate(vocab))
        self._ids: dict[str, int] = {
            **dict(pieces),
            **{token["content"]: token["id"] for token in self._by_content.values()},
        }

    def declare(self, tokens: Mapping[str | int, Any]) -> None:
        """Tokens by id, as ``added_tokens_decoder`` lists them."""
        for index, token in sorted(tokens.items(), key=lambda item: int(item[0])):
            content = _content(token)
            if isinstance(index, bool):
                raise self._error(
                    f"the token {content!r} has the id {json.dumps(index)} beside tokenizer.json, which is no id"
                )
            known = self._ids.setdefault(content, int(index))
            if known != int(index):
                raise self._error(f"the token {content!r} has the id {known} in tokenizer.json and {index} beside it")
            if content not in self._by_content or "normalized" in token:
                self._by_content[content] = _added(content, known, token)

    def mark_special(self, content: str, flags: Any, what: str) -> None:
        """A token that a configuration names is a special added token."""
        if content not in self._ids:
            raise self._error(f"{content!r}, {what}, is not in the vocabulary")
        token = self._by_content.get(content) or _added(content, self._ids[content], flags)
        self._by_content[content] = {**token, "special": True}

    def stop(self, index: int) -> str:
        """The token with this id, which becomes an added token if it was only a piece of the vocabulary."""
        same = (token for token, known in self._ids.items() if known == index)
        content: str | None = None if isinstance(index, bool) else next(same, None)
        if content is None:
            raise self._error(
                f"generation_config.json ends answers at the id {json.dumps(index)}, which is not in the vocabulary"
            )
        self._by_content.setdefault(content, _added(content, index, content))
        return content

    def tokens(self) -> list[Spec]:
        """In the order of their ids, as ``tokenizer.json`` lists them."""
        return sorted(self._by_content.values(), key=lambda token: int(token["id"]))

    def _error(self, what: str) -> ModelError:
        return ModelError(
            what, where=str(self._directory), fix="correct the file that names it, or download the model again"
        )


def _added(content: str, index: int, flags: Any) -> Spec:
    """An entry of ``added_tokens``; tokens that are named by their string alone are special and matched as they stand."""
    given = flags if isinstance(flags, dict) else {"special": True}
    special = bool(given.get("special", True))
    return {
        "id": index,
        "content": content,
        "single_word": bool(given.get("single_word", False)),
        "lstrip": bool(given.get("lstrip", False)),
        "rstrip": bool(given.get("rstrip", False)),
        "normalized": bool(given.get("normalized", not special)),
        "special": special,
    }


def _content(token: Any) -> str:
    """A token's string; files write it as such or as an object with flags."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _as_list(value: Any) -> list[Any]:
    """What a file gives as nothing, one value, a list, or an object whose values count."""
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else [value]


def _no_tokenizer(directory: Path) -> ModelError:
    if not directory.is_dir():
        return ModelError(
            "there is no such directory", where=str(directory), fix="set model.name to a model's directory"
        )
    others = sorted(path.name for path in directory.iterdir() if "token" in path.name or path.suffix == ".model")
    found = f"it holds {', '.join(others)}" if others else "no file of a tokenizer is there"
    pieces = next((name for name in others if name.endswith(".model")), None)
    return ModelError(
        f"there is no tokenizer.json; {found}",
        where=str(directory),
        fix=(f"set model.tokenizer to {directory / pieces} if that is a SentencePiece model, or " if pieces else "")
        + "point model.name or model.tokenizer at a directory with a tokenizer.json (Transformers writes one with "
        "AutoTokenizer.from_pretrained(...).save_pretrained(...))",
    )
