"""Tokenizer files: text never becomes special, saving keeps every id, and damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from burnish.chat.tokenizer import CONFIG, GENERATION, TEMPLATE, VOCABULARY, Tokenizer
from burnish.errors import DataError, ModelError


def test_bytes_are_the_ids(tokenizer: Tokenizer) -> None:
    # 256 byte letters sorted by code point: '!' (33) is the first printable one, so "A" (65) is 32 later
    assert tokenizer.encode("!A") == [0, 32]
    assert tokenizer.vocab_size == 256 + 3
    assert tokenizer.special == {"<|endoftext|>": 256, "<|im_start|>": 257, "<|im_end|>": 258}
    assert tokenizer.end_id == 258


@pytest.mark.parametrize(
    "text", ["", " ", "Grüße, ¿qué tal? 你好 🙂", "a\n\n1. b\r\n\t", "<|im_end|>\n<|im_start|>system\n"]
)
def test_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.special.values())


def test_markup_is_read_as_meant_and_left_out_of_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_markup("<|im_start|>hi<|im_end|>")
    assert (ids[0], ids[-1]) == (257, 258)
    assert tokenizer.decode(ids) == "hi"


def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode("Grüße <|im_end|>") == tokenizer.encode("Grüße <|im_end|>")
    assert again.encode_markup("a<|im_end|>") == tokenizer.encode_markup("a<|im_end|>")


def test_fingerprint_changes_with_the_template(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / TEMPLATE).write_text(tokenizer.template + "{# another #}")
    assert Tokenizer.load(tmp_path).fingerprint != tokenizer.fingerprint


def test_the_templates_own_file_is_taken_before_the_configuration(
    tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer.save(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    for other, warned in (("other", True), (tokenizer.template, False)):
        caplog.clear()
        (tmp_path / CONFIG).write_text(json.dumps(config | {"chat_template": other}))
        assert Tokenizer.load(tmp_path).template == tokenizer.template
        assert ("different chat templates: the latter is taken" in caplog.text) == warned


@pytest.mark.parametrize("beside", [True, False])
def test_what_is_saved_has_the_date_that_was_trained_on(tokenizer: Tokenizer, tmp_path: Path, beside: bool) -> None:
    for name in ("base", "saved"):
        (tmp_path / name).mkdir()
    tokenizer.save(tmp_path / "base")
    template = "{{ strftime_now('%d %B %Y') }}" + tokenizer.template
    if beside:
        (tmp_path / "base" / TEMPLATE).write_text(template)
    else:
        (tmp_path / "base" / TEMPLATE).unlink()
        (tmp_path / "base" / CONFIG).write_text(json.dumps({"chat_template": template}))
    read = Tokenizer.load(tmp_path / "base")
    read.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False).startswith("26 July 2024<")
    assert Tokenizer.load(tmp_path / "saved").fingerprint == read.fingerprint


@pytest.mark.parametrize(
    ("stated", "ends"),
    [(None, {258}), (257, {257, 258}), ([256, 258], {256, 258}), ([258, 259, -1, 10**9], {258}), ([], {258})],
)
def test_ends_are_all_that_the_folder_says(
    tokenizer: Tokenizer, tmp_path: Path, stated: object, ends: set[int]
) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / GENERATION).write_text(json.dumps({"eos_token_id": stated}))
    read = Tokenizer.load(tmp_path)
    assert (read.end_id, read.end_ids) == (258, ends)


def test_the_end_of_text_of_the_tokenizers_files_is_an_end(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    for eos, ends in (("<|endoftext|>", {256, 258}), ("no token", {258}), (None, {258})):
        (tmp_path / CONFIG).write_text(json.dumps({"eos_token": eos}))
        assert Tokenizer.load(tmp_path).end_ids == ends


def test_rows_are_those_of_tokens_that_can_occur(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    stored = json.loads((tmp_path / VOCABULARY).read_text())
    new = {**stored["added_tokens"][-1], "id": 259, "content": "<image>"}
    (tmp_path / VOCABULARY).write_text(json.dumps(stored | {"added_tokens": [*stored["added_tokens"], new]}))
    read = Tokenizer.load(tmp_path)
    assert (read.vocab_size, read.rows) == (260, 259)
    (tmp_path / TEMPLATE).write_text("<image>" + tokenizer.template)
    assert Tokenizer.load(tmp_path).rows == 260
    (tmp_path / TEMPLATE).write_text(tokenizer.template)
    (tmp_path / GENERATION).write_text('{"eos_token_id": 259}')
    assert Tokenizer.load(tmp_path).rows == 260


def test_a_token_that_only_the_configuration_calls_special_is_special(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    stored = json.loads((tmp_path / VOCABULARY).read_text())
    for token in stored["added_tokens"]:
        token["special"] = False
    (tmp_path / VOCABULARY).write_text(json.dumps(stored))
    assert 258 not in Tokenizer.load(tmp_path).encode("<|im_end|>")


def test_a_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="surrogate"):
        tokenizer.encode("\ud800")


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no vocabulary": (_drop(VOCABULARY), "no tokenizer.json here"),
    "no template": (_drop(TEMPLATE), "no chat template"),
    "not JSON": (_write(VOCABULARY, "{'a'"), "not JSON"),
    "too deep": (_write(VOCABULARY, "[" * 200_000), "not JSON"),
    "not a tokenizer": (_write(VOCABULARY, '{"model": {"type": "Nonsense"}}'), "not a tokenizer"),
    "configuration is a list": (_write(CONFIG, "[]"), "not a JSON object"),
    "ends that are no ids": (_write(GENERATION, '{"eos_token_id": [258, "</s>"]}'), "eos_token_id is .*not a token's"),
    "an end that is a truth value": (_write(GENERATION, '{"eos_token_id": true}'), "eos_token_id is True"),
    "no ends": (_write(GENERATION, "[]"), "generation_config.json: not a JSON object"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named(tokenizer: Tokenizer, tmp_path: Path, kind: str) -> None:
    tokenizer.save(tmp_path)
    spoil, said = BAD[kind]
    spoil(tmp_path)
    with pytest.raises(ModelError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
