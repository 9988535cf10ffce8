"""Control tokens that a tokenizer lacks and a template is made of.

A token that the vocabulary has becomes a control token under its id, one that it lacks gets the next free id. The model then
needs a row more in its embedding (:mod:`weft.models.vocab`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from weft.data.closed_tokenizer import Spec
from weft.data.tokenizer_files import TokenizerFiles
from weft.disk import value_digest


def with_control_tokens(files: TokenizerFiles, tokens: Sequence[str]) -> TokenizerFiles:
    """The tokenizer with every one of ``tokens`` as a control token, of which the last ends an answer."""
    known = {token["content"]: token for token in files.spec["added_tokens"]}
    missing = [token for token in tokens if not known.get(token, {}).get("special")]
    stops = tuple(dict.fromkeys([*files.stops, *tokens[-1:]]))
    if not missing and stops == files.stops:
        return files
    files = replace(files, stops=stops, fingerprint=value_digest([files.fingerprint, missing, stops]))
    if not missing:
        return files
    ids = vocabulary(files.spec)
    new = [token for token in missing if token not in ids]
    first = 1 + max(ids.values())
    ids.update({token: first + place for place, token in enumerate(new)})
    known.update({token: _control(token, ids[token]) for token in missing})
    spec = {**files.spec, "added_tokens": sorted(known.values(), key=lambda token: int(token["id"]))}
    config = _declared(files.config, [known[token] for token in missing])
    return replace(
        files,
        spec=spec,
        config=config,
        new=tuple(new),
        made={**files.made, "tokenizer.json": _json(spec), "tokenizer_config.json": _json(config)},
        notices=(*files.notices, *_notices(files, missing, new, ids)),
    )


def vocabulary(spec: Spec) -> dict[str, int]:
    """The ids of all pieces and added tokens."""
    vocab = spec["model"]["vocab"]
    pieces = vocab.items() if isinstance(vocab, dict) else ((piece, place) for place, (piece, _) in enumerate(vocab))
    return {**dict(pieces), **{token["content"]: int(token["id"]) for token in spec["added_tokens"]}}


def _control(token: str, index: int) -> Spec:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": token, **plain, "special": True}


def _declared(config: Spec, tokens: Sequence[Spec]) -> Spec:
    """The configuration, where it lists the added tokens, with these: Transformers takes its list for the whole."""
    if "added_tokens_decoder" not in config:
        return config
    listed = {str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in tokens}
    return {**config, "added_tokens_decoder": {**config["added_tokens_decoder"], **listed}}


def _notices(files: TokenizerFiles, missing: Sequence[str], new: Sequence[str], ids: dict[str, int]) -> tuple[str, ...]:
    said = []
    if new:
        listed = ", ".join(f"{token} ({ids[token]})" for token in new)
        said.append(
            f"{listed} {'is' if len(new) == 1 else 'are'} added to the tokenizer {files.place}, because the template is made of "
            f"{'it' if len(new) == 1 else 'them'}; the model gets a row for each, which is trained"
        )
    if promoted := [f"{token} ({ids[token]})" for token in missing if token not in new]:
        said.append(f"{', '.join(promoted)} of the tokenizer {files.place}: now control tokens, as the template needs")
    return tuple(said)


def _json(content: Spec) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
