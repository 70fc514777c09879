"""Texts as documents: pieces, and the token that begins one. Conversations: each row that is refused has its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import CONFIG, TEMPLATE, VOCABULARY, Tokenizer
from burnish.data.documents import example_documents, ranked_documents, text_documents
from burnish.errors import DataError
from burnish.models.tiny import tiny_tokenizer
from burnish.types import Example, Message, Prompt, Ranking, Text

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


def refusing(folder: Path) -> Renderer:
    """A template that knows no system turn, as Gemma 2's."""
    tiny_tokenizer().save(folder)
    source = (folder / TEMPLATE).read_text()
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}"
    (folder / TEMPLATE).write_text(refusal + source)
    (folder / CONFIG).write_text("{}")
    return Renderer(Tokenizer.load(folder))


def test_every_row_that_a_template_refuses_is_named(tmp_path: Path) -> None:
    renderer, system = refusing(tmp_path), Message(role="system", content="Be kind.")
    turns = (Message(role="user", content="Hello"), Message(role="assistant", content="Hi"))
    rows = [Example(id=f"rows.jsonl:{line}", messages=(system, *turns) if line % 2 else turns) for line in range(1, 6)]
    assert len(example_documents(renderer, rows[1::2])) == 2
    with pytest.raises(DataError) as caught:
        example_documents(renderer, rows)
    assert [each.where for each in caught.value.problems] == ["rows.jsonl:1", "rows.jsonl:3", "rows.jsonl:5"]
    assert all("refuses the turns system, user" in each.found for each in caught.value.problems)
    prompt = Prompt(id="prompts.jsonl:7", messages=(system, turns[0]))
    with pytest.raises(DataError, match=r"prompts\.jsonl:7: .*no system turns here"):
        ranked_documents(renderer, [Ranking(prompt=prompt, completions=("a", "b"), ranks=(1, 2))])


@pytest.mark.parametrize(("closed", "told"), [(0, "2 of 2 answers have no </think>"), (1, ""), (2, "")])
def test_answers_within_a_thought_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, closed: int, told: str
) -> None:
    """DeepSeek-R1's template asks for an answer by opening a thought, and never ends one."""
    tiny_tokenizer().save(tmp_path)
    source = (tmp_path / TEMPLATE).read_text()
    (tmp_path / TEMPLATE).write_text(source + "{% if add_generation_prompt %}{{ '<think>' }}{% endif %}")
    renderer = Renderer(Tokenizer.load(tmp_path))
    asked = Message(role="user", content="q")
    texts = tuple(f"{'hm</think>' if number < closed else ''}a" for number in range(2))
    said = [(asked, Message(role="assistant", content=text)) for text in texts]
    example_documents(renderer, [Example(id=str(number), messages=turns) for number, turns in enumerate(said)])
    ranked_documents(renderer, [Ranking(prompt=Prompt(id="p", messages=(asked,)), completions=texts, ranks=(1, 2))])
    assert caplog.text.count("answers have no </think>") == 2 * bool(told)
    assert told in caplog.text
