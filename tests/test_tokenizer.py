"""Reading a tokenizer's directory: which file decides what, and what is refused by name."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tokenizer_zoo import CONTROL, PLAIN, ZOO, write
from weft.data.jinja import JinjaTemplate
from weft.data.own_template import own_template
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import ModelError

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def load(directory: Path, **files: Any) -> Tokenizer:
    return load_tokenizer(write(ZOO["byte_level"](), directory, **files))


def test_the_tiny_tokenizer_by_hand(tiny_tokenizer_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    assert tokenizer.control == {"<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"}
    assert tokenizer.stops == {"<|eos|>", "<|im_end|>"}
    assert tokenizer.stop_ids == {3, 5}
    assert (tokenizer.bos, tokenizer.eos, tokenizer.eos_id, tokenizer.pad_id) == ("<|bos|>", "<|eos|>", 3, 0)
    assert (
        tokenizer.vocab_size
        == json.loads((tiny_tokenizer_dir / "tokenizer.json").read_text())["model"]["vocab"].__len__()
    )
    assert tokenizer.chat_template is not None
    assert tokenizer.chat_template.startswith("{% for message in messages %}")
    assert tokenizer.encode("<|im_start|>", [(0, 12)]) == [4]
    assert 4 not in tokenizer.encode("<|im_start|>")


def test_decoding_leaves_control_tokens_out_unless_asked(tiny_tokenizer_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    ids = [4, *tokenizer.encode("user\nHello é"), 5]
    assert tokenizer.decode(ids) == "user\nHello é"
    assert tokenizer.decode(ids, skip_control=False) == "<|im_start|>user\nHello é<|im_end|>"


def test_every_stop_of_the_generation_config_counts(tmp_path: Path) -> None:
    tokenizer = load(tmp_path / "list", generation_config={"eos_token_id": [4, 2]})
    assert (tokenizer.eos, tokenizer.stops) == ("</s>", {"</s>", "<|im_end|>"})
    tokenizer = load(tmp_path / "one", generation_config={"eos_token_id": 4})
    assert tokenizer.stops == {"</s>", "<|im_end|>"}
    tokenizer = load(tmp_path / "alone", tokenizer_config={}, generation_config={"eos_token_id": 4})
    assert (tokenizer.eos, tokenizer.eos_id, tokenizer.stops) == ("<|im_end|>", 4, {"<|im_end|>"})


def test_a_stop_that_is_not_special_is_a_control_token_all_the_same(tmp_path: Path) -> None:
    own = ZOO["byte_level_added_later"]()
    index = own.token_to_id("<tool_call>")
    tokenizer = load_tokenizer(write(own, tmp_path, generation_config={"eos_token_id": [index]}))
    assert tokenizer.control == {*CONTROL, "<tool_call>"}
    assert index not in tokenizer.encode("a <tool_call> b")
    assert own.token_to_id("<think>") in tokenizer.encode("a <think> b"), "added tokens that are not special stay text"


def test_a_named_token_that_is_only_a_vocabulary_entry_becomes_special(tmp_path: Path) -> None:
    own = ZOO["unigram"]()
    description = json.loads(own.to_str())
    description["added_tokens"] = []
    write(own, tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.control == {"<s>", "</s>", "<unk>"}
    assert tokenizer.eos_id not in tokenizer.encode("a </s> b")
    assert tokenizer.eos_id in tokenizer.encode("a </s> b", [(2, 6)])


def test_token_fields_are_strings_or_objects(tmp_path: Path) -> None:
    config = {**NAMED, "eos_token": {"content": "<|im_end|>", "special": True}, "additional_special_tokens": ["[SEP]"]}
    assert load(tmp_path, tokenizer_config=config).eos == "<|im_end|>"


@pytest.mark.parametrize(
    ("config", "expected"),
    [(NAMED, "<|im_end|>"), ({**NAMED, "added_tokens_decoder": {}}, "</s>")],
    ids=["older", "newer"],
)
def test_special_tokens_map_counts_where_the_newer_list_is_absent(
    tmp_path: Path, config: dict[str, Any], expected: str
) -> None:
    """As in Transformers, which reads that file only beside a configuration without `added_tokens_decoder`."""
    tokenizer = load(tmp_path, tokenizer_config=config, special_tokens_map={"eos_token": "<|im_end|>"})
    assert tokenizer.eos == expected


def test_added_tokens_of_other_files_join_when_their_ids_agree(tmp_path: Path) -> None:
    size = ZOO["byte_level"]().get_vocab_size()
    decoder = {str(size): {"content": "<|extra|>", "special": True, "normalized": False}}
    newer = load(tmp_path / "newer", tokenizer_config={**NAMED, "added_tokens_decoder": decoder})
    older = load(tmp_path / "older", added_tokens={"<|extra|>": size}, special_tokens_map={"pad_token": "<|extra|>"})
    for tokenizer in (newer, older):
        assert "<|extra|>" in tokenizer.control
        assert tokenizer.encode("<|extra|>", [(0, 9)]) == [size]
        assert tokenizer.vocab_size == size + 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config": {**NAMED, "pad_token": "<pad>"}}, r"'<pad>', its pad_token, is not in the vocabulary"),
        (
            {"tokenizer_config": {**NAMED, "additional_special_tokens": ["<x>"]}},
            r"'<x>', one of its additional_special",
        ),
        ({"generation_config": {"eos_token_id": 99999}}, r"at the id 99999, which is not in the vocabulary"),
        ({"tokenizer_config": {}}, r"names no token that ends an answer"),
        ({"added_tokens": {"</s>": 7}}, r"'</s>' has the id 2 in tokenizer.json and 7 beside it"),
        ({"added_tokens": {"<far>": 5000}}, r"'<far>' has the id 5000 but loads as"),
        ({"tokenizer_config": {**NAMED, "added_tokens_decoder": [1]}}, r"not shaped as expected"),
        ({"generation_config": {"eos_token_id": "x"}}, r"not in the vocabulary"),
        ({"generation_config": {"eos_token_id": True}}, r"answers at the id true, which is not in the vocabulary"),
        (
            {"generation_config": {"eos_token_id": [2, False]}},
            r"answers at the id false, which is not in the vocabulary",
        ),
        ({"added_tokens": {"<s>": True}}, r"the token '<s>' has the id true beside tokenizer.json, which is no id"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    if "<far>" in str(files):
        files = {**files, "special_tokens_map": {"pad_token": "<far>"}}
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path, **files)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("content", [b"{broken", b'{"a": "\xff"}', b"[1]"])
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    write(ZOO["byte_level"](), tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        load_tokenizer(tmp_path)


def test_a_description_that_the_library_refuses_is_named(tmp_path: Path) -> None:
    write(ZOO["byte_level"](), tmp_path)
    description = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    description["model"]["merges"] = [["absent", "parts"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ModelError, match="does not load"):
        load_tokenizer(tmp_path)


def test_a_directory_without_a_tokenizer_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such directory"):
        load_tokenizer(tmp_path / "absent")
    with pytest.raises(ModelError, match="no file of a tokenizer is there"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(ModelError, match=r"there is no tokenizer.json; it holds tokenizer.model"):
        load_tokenizer(tmp_path)


def test_the_chat_template_s_precedence(tmp_path: Path) -> None:
    one, named = (
        {**NAMED, "chat_template": "config"},
        [{"name": "default", "template": "d"}, {"name": "rag", "template": "r"}],
    )
    assert load(tmp_path / "a", tokenizer_config=one).chat_template == "config"
    assert load(tmp_path / "b", tokenizer_config=one, chat_template="file").chat_template == "file"
    assert load(tmp_path / "c", tokenizer_config={**NAMED, "chat_template": named}).chat_template == "d"
    assert load(tmp_path / "d", tokenizer_config={**NAMED, "chat_template": named[1:]}).chat_template == "r"
    assert load(tmp_path / "e").chat_template is None


@pytest.mark.parametrize("apart", [False, True])
def test_records_with_tools_have_the_template_that_transformers_chooses(apart: bool, tmp_path: Path) -> None:
    named = {
        "default": "  \n{% for m in messages %}{{ m.content }}{% endfor %}\n {% if true %}\n  {% endif %}\n",
        "tool_use": "\n{% macro f(x) %}<{{ x }}>{% endmacro %}{{ tools[0].function.name }}\n"
        "{%- for m in messages %}{{ f(m.content) }}{% endfor %} \n\n",
        "rag": "r",
    }
    if apart:
        (tmp_path / "additional_chat_templates").mkdir()
        (tmp_path / "additional_chat_templates/tool_use.jinja").write_text(named["tool_use"])
        loaded = load(tmp_path, chat_template=named["default"])
    else:
        listed = [{"name": name, "template": template} for name, template in named.items()]
        loaded = load(tmp_path, tokenizer_config={**NAMED, "chat_template": listed})
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template is not None
    template = JinjaTemplate(loaded.chat_template, "named")
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    tools = [{"type": "function", "function": {"name": "n"}}]
    printed = []
    for offered in (None, tools):
        printed.append(template.render({"messages": messages, "tools": offered}))
        assert printed[-1] == theirs.apply_chat_template(messages, tools=offered, tokenize=False)
    assert printed == ["  \nab", "\nn<a><b> \n"]


EDGES = ("", " ", "\n", "\n\n", "  \n", "\r\n", "\n\r\n")


@pytest.mark.parametrize(
    "inner", ["{%- if true %}a{% endif %}", "{% if true %}a{%- endif %}", "{# b #}", "{{- 'a' }}", "a"]
)
def test_a_named_template_prints_its_edges_as_it_does_alone(inner: str) -> None:
    for before, after in product(EDGES, EDGES):
        part = before + inner + after
        alone = JinjaTemplate(part, "alone").render({})
        for tools, named in ((None, {"default": part, "tool_use": "x"}), ([1], {"default": "x", "tool_use": part})):
            joined = own_template({}, named, Path())
            assert joined is not None
            both = JinjaTemplate(joined.text, "both")
            assert both.render({"tools": tools}) == alone, (before, after)


def test_a_file_where_a_folder_of_templates_may_be_is_none(tmp_path: Path) -> None:
    (tmp_path / "additional_chat_templates").touch()
    assert load(tmp_path, chat_template="d").chat_template == "d"


def test_the_fingerprint_covers_every_file_that_was_read(tmp_path: Path) -> None:
    def fingerprint(name: str, **files: Any) -> str:
        return load(tmp_path / name, **files).fingerprint

    same = fingerprint("a"), fingerprint("b"), fingerprint("c", readme={"not": "read"})
    assert len(set(same)) == 1
    others = {
        fingerprint("d", generation_config={"eos_token_id": 2}),
        fingerprint("e", chat_template="x"),
        fingerprint("f", tokenizer_config={**NAMED, "pad_token": "<unk>"}),
    }
    assert len({*same, *others}) == 4


@pytest.mark.parametrize("kind", ZOO)
def test_a_model_that_does_not_say_of_which_kind_it_is(kind: str, tmp_path: Path) -> None:
    own = ZOO[kind]()
    said = load_tokenizer(write(own, tmp_path / "said"))
    place = write(own, tmp_path / "untold")
    spec = json.loads((place / "tokenizer.json").read_text())
    del spec["model"]["type"]
    (place / "tokenizer.json").write_text(json.dumps(spec))
    untold = load_tokenizer(place)
    for text in ("The weft crosses the warp.", "  two\n\nlines </s> é語"):
        assert untold.encode(text) == said.encode(text)
    assert untold.never_joins == said.never_joins


@pytest.mark.parametrize("flag", ["single_word", "lstrip", "normalized", "special"])
def test_an_added_token_without_a_flag_is_refused_as_the_library_refuses_it(flag: str, tmp_path: Path) -> None:
    place = write(ZOO["byte_level"](), tmp_path)
    spec = json.loads((place / "tokenizer.json").read_text())
    del spec["added_tokens"][0][flag]
    (place / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(ModelError, match=rf"^{place}/tokenizer.json: it does not load: missing field `{flag}`"):
        load_tokenizer(place)


@pytest.mark.parametrize("told", [True, False])
def test_what_the_library_panics_at_is_refused(told: bool, tmp_path: Path) -> None:
    place = write(ZOO["byte_level"](), tmp_path)
    spec = json.loads((place / "tokenizer.json").read_text())
    spec["model"]["continuing_subword_prefix"] = "<|im_end|>"  # longer than the pieces that merge
    if not told:
        del spec["model"]["type"]
    (place / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(ModelError, match=rf"^{place}/tokenizer.json: it does not load: "):
        load_tokenizer(place)


def test_truncation_padding_and_the_post_processor_take_no_part(tmp_path: Path) -> None:
    from tokenizers import processors

    own = ZOO["byte_level"]()
    expected = load_tokenizer(write(own, tmp_path / "a")).encode("What is the capital of France?")
    own.enable_truncation(2)
    own.enable_padding(length=64)
    own.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    assert load_tokenizer(write(own, tmp_path / "b")).encode("What is the capital of France?") == expected
    assert len(expected) > 2


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_ids_read_as_the_text_they_came_from(tiny_tokenizer_dir: Path, text: str) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_dir)
    assert tokenizer.decode(tokenizer.encode(text), skip_control=False) == text


def test_same_ids_as_transformers(tmp_path: Path) -> None:
    """The reference that serves the model later; named tokens, added tokens and the rest as it reads them."""
    transformers = pytest.importorskip("transformers")
    own = ZOO["byte_level_added_later"]()
    config = {**NAMED, "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[SEP]"}
    tokenizer = load_tokenizer(write(own, tmp_path, tokenizer_config=config))
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = f"<s><|im_start|>What is {PLAIN[0]} the  capital?\n<|im_end|>é 问"
    spans = [(text.index(token), text.index(token) + len(token)) for token in ("<s>", "<|im_start|>", "<|im_end|>")]
    assert tokenizer.encode(text, spans) == reference.encode(text, add_special_tokens=False)
    assert (tokenizer.eos_id, tokenizer.pad_id) == (reference.eos_token_id, reference.pad_token_id)
    assert tokenizer.vocab_size == len(reference)
