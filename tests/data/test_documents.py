"""Texts as documents: pieces, and the token that begins one."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers.processors import TemplateProcessing

from burnish.chat.tokenizer import VOCABULARY, Tokenizer
from burnish.data.documents import text_documents
from burnish.models.tiny import tiny_tokenizer
from burnish.types import Text

TEXT = [Text(id="t", content="abcdefg")]


def beginning(folder: Path, single: str) -> Tokenizer:
    """The tiny tokenizer, which puts a special token where `single` says before or after a text that it reads whole."""
    tiny_tokenizer().save(folder)
    made = Tokenizer.load(folder)._markup
    made.post_processor = TemplateProcessing(single=single, special_tokens=[("<|endoftext|>", 256)])
    (folder / VOCABULARY).write_text(json.dumps(json.loads(made.to_str())))
    return Tokenizer.load(folder)


def test_pieces_follow_each_other_and_learn_all_but_their_first_token() -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.begin == []
    first, second = text_documents(tokenizer, TEXT, 4, "t")
    assert [*first.ids, *second.ids] == tokenizer.encode("abcdefg")
    assert (first.row, first.weights) == ("t#0", [0, 1, 1, 1])
    assert (second.row, second.weights) == ("t#1", [0, 1, 1])


def test_every_piece_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    """Gemma without its first token predicts nothing: its perplexity is a thousand times what it is with it."""
    tokenizer = beginning(tmp_path, "<|endoftext|> $A")
    assert tokenizer.begin == [256]
    pieces = text_documents(tokenizer, TEXT, 4, "t")
    assert [piece.ids[0] for piece in pieces] == [256, 256, 256][: len(pieces)]
    assert [token for piece in pieces for token in piece.ids[1:]] == tokenizer.encode("abcdef")
    assert all(len(piece.ids) <= 4 and list(piece.weights)[:2] == [0, 0] for piece in pieces)
    assert tokenizer.encode("ab") == tiny_tokenizer().encode("ab"), "what somebody says is read without it"


def test_a_token_that_ends_a_text_begins_none(tmp_path: Path) -> None:
    assert beginning(tmp_path, "$A <|endoftext|>").begin == []
