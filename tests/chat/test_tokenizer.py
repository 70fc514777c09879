"""Tokenizer files: text never becomes special, saving keeps every id, and damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.chat.tokenizer import CONFIG, TEMPLATE, VOCABULARY, Tokenizer
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
    "two templates": (_write(CONFIG, '{"chat_template": "other"}'), "different chat templates"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named(tokenizer: Tokenizer, tmp_path: Path, kind: str) -> None:
    tokenizer.save(tmp_path)
    spoil, said = BAD[kind]
    spoil(tmp_path)
    with pytest.raises(ModelError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
