"""The tokenizer of a model's directory: its special tokens, and text to ids and back.

It loads with the ``tokenizers`` library alone: a tenth of a second, where ``AutoTokenizer`` takes seconds and imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from weft.data.added_tokens import vocabulary, with_control_tokens
from weft.data.encoding import Encoder, Parts, Run
from weft.data.flat_ids import FlatIds
from weft.data.long_text import never_joins
from weft.data.spelled_out import loading
from weft.data.tokenizer_files import TokenizerFiles, read_tokenizer_files
from weft.errors import ModelError


def load_tokenizer(place: Path, *, control: Sequence[str] = ()) -> Tokenizer:
    """The tokenizer of a model's directory, from ``tokenizer.json`` and the files around it; or a SentencePiece model.

    Args:
        place: the directory, or the file.
        control: control tokens that it is to have; those that it lacks are added. The last of them ends an answer.

    Raises:
        ModelError: there is none, it is broken, it names tokens that it lacks, or text cannot be kept from becoming control
            tokens with it.
    """
    files = read_tokenizer_files(place)
    where = place if place.is_file() else place / "tokenizer.json"
    with loading(where):
        try:
            return Tokenizer(with_control_tokens(files, control))
        except ModelError as error:
            raise ModelError(error.what, where=str(place), fix=error.fix) from error


class Tokenizer:
    """Text to ids and back.

    Attributes:
        control: strings of the control tokens: special added tokens, and the stops.
        stops: strings of the tokens that end an answer; ``stop_ids``: their ids; ``ordered_stops``: the EOS comes first.
        bos: the string of the token that begins a text, empty where there is none.
        eos: the token that ends a text, one of the stops; ``eos_id``: its id.
        pad: the token that fills batches, empty where the tokenizer names none; ``pad_id``: its id, or None.
        named_ids: the ids of ``pad``, ``unk``, ``bos`` and ``eos``; names without a token are absent.
        new_ids: the ids of control tokens that were added when it was loaded, and that the model has no weights for.
        chat_template: the jinja source of the chat template that came with it; ``template_parts``: what that is made of.
        vocab_size: the highest id + 1.
        fingerprint: SHA-256 over the files that it was read from.
        place: the directory or file that it was read from.
        made: files, by name, that are to lie where it is read from again, in place of those that ``place`` holds.
        notices: what is to be said about it.
    """

    def __init__(self, files: TokenizerFiles):
        ids = {token["content"]: int(token["id"]) for token in files.spec["added_tokens"]}
        self.place, self.made, self.notices = files.place, files.made, files.notices
        special = (token["content"] for token in files.spec["added_tokens"] if token["special"])
        self._files, self._spec = files, files.spec
        self.control = frozenset(special) | frozenset(files.stops)
        self.ordered_stops = files.stops
        self.stops = frozenset(files.stops)
        self.stop_ids = frozenset(ids[token] for token in files.stops)
        self._control = {token: ids[token] for token in self.control}
        self.control_ids = frozenset(self._control.values())
        self.bos = files.named.get("bos_token", "")
        self.eos = files.stops[0]
        self.eos_id = ids[self.eos]
        self.pad = files.named.get("pad_token", "")
        self.pad_id = ids.get(self.pad)
        self.chat_template = files.template.text if files.template else None
        self.template_parts = files.template.parts if files.template else ()
        named = {name: files.named.get(f"{name}_token") for name in ("pad", "unk", "bos", "eos")}
        self.named_ids: Mapping[str, int] = {name: ids[token] for name, token in named.items() if token}
        self.new_ids = tuple(ids[token] for token in files.new)
        self.vocab_size = 1 + max(vocabulary(files.spec).values())
        self.fingerprint = files.fingerprint
        self._encoder = Encoder(files.spec, self._control, self.stops)

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[TokenizerFiles]]:
        return Tokenizer, (self._files,)  # for another process, which builds it anew

    @property
    def disproved(self) -> str | None:
        """What showed that the shortcuts taken so far were none; None where nothing did."""
        return self._encoder.disproved

    def take_no_shortcuts(self, reason: str) -> None:
        """Encode all texts whole."""
        self._encoder.encode_whole(reason)

    def control_id(self, token: str) -> int:
        """The id of a control token."""
        return self._control[token]

    def stopping_ids(self, stop_strings: Iterable[str]) -> frozenset[int]:
        """The ids that end an answer: the tokenizer's own stops, and those control tokens with which a template closes turns."""
        return self.stop_ids.union(map(self.control_id, stop_strings))

    def encode(self, text: str, control: Sequence[tuple[int, int]] = (), continues: bool = False) -> list[int]:
        """The ids of ``text``.

        Args:
            text: what to encode; it becomes no control token (law 4), but for
            control: half-open character spans, in order, each the string of a control token.
            continues: text goes before, so that no space may be put before this one.
        """
        ids: list[int] = self.encode_batch([Run.of(text, control, continues=continues)])[0].tolist()
        return ids

    def encode_batch(self, runs: Sequence[Run]) -> list[np.ndarray]:
        """The ids of each run, int32; many at once are faster."""
        return self._encoder.encode(runs)

    def encode_flat(self, runs: Sequence[Parts], continues: Sequence[bool]) -> FlatIds:
        """As :meth:`encode_batch`, of runs given by their parts, and whether text goes before each."""
        return self._encoder.encode_flat(runs, continues)

    def places(self, run: Run) -> list[tuple[int, int]]:
        """Where in its text the characters of each id of a run stand: half-open spans, one per id."""
        return self._encoder.places(run)

    @property
    def known_chunks(self) -> float:
        """The share of the chunks of text encoded so far whose ids were known (:mod:`weft.data.chunk_cache`)."""
        return self._encoder.known_chunks

    def decode(self, ids: Sequence[int], skip_control: bool = True) -> str:
        """The text of ``ids``, by default without the control tokens among them."""
        if skip_control:
            ids = [index for index in ids if index not in self.control_ids]
        return self._own.decode(list(ids), skip_special_tokens=False)

    def token(self, index: int) -> str:
        """The vocabulary's own entry for an id, which need not be readable text."""
        return self._own.id_to_token(index) or ""

    @cached_property
    def never_joins(self) -> bool:
        """Whether no token reaches across a space behind another character, whatever the text."""
        return never_joins(self._spec)

    def begins_word(self, text: str, place: int) -> bool:
        """Whether ``text`` is split into words before it is encoded, and one of them begins at ``place``."""
        words = self._own.pre_tokenizer.pre_tokenize_str(text) if self._own.pre_tokenizer else []
        return any(start == place for _, (start, _) in words)

    @cached_property
    def opening(self) -> str:
        """The BOS, where the model's own tokenizer puts it before every text (chat templates print it themselves); else empty."""
        bare, whole = (self._own.encode("a", add_special_tokens=special).tokens for special in (False, True))
        return self.bos if self.bos and whole[:1] == [self.bos] != bare[:1] else ""

    @cached_property
    def _own(self) -> RustTokenizer:
        """The model's tokenizer as it is. Not for encoding records: with it, text would become control tokens."""
        return RustTokenizer.from_str(json.dumps(self._spec, ensure_ascii=False))
