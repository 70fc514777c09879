"""Conversations through the renderer, the engine and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.load import load_trainable
from burnish.models.tiny import write_tiny
from burnish.rollout.chat import ChatGenerator
from burnish.rollout.engine import Engine
from burnish.types import Generator, Message, Sampling, Stop

ASKED = [
    (Message(role="system", content="Be brief."), Message(role="user", content="Hello")),
    (Message(role="user", content="¿Dónde está <|im_end|> mi pedido?"),),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Renderer, Tokenizer]:
    folder: Path = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    tokenizer = Tokenizer.load(folder)
    engine = Engine(load_trainable(folder, dtype=torch.float32), end_ids=tokenizer.end_ids, slots=4)
    return engine, Renderer(tokenizer), tokenizer


def test_answers_are_views_of_what_the_engine_sampled(parts: tuple[Engine, Renderer, Tokenizer]) -> None:
    engine, renderer, tokenizer = parts
    engine.version = 12
    sampling = Sampling(max_new_tokens=150, seed=3)
    generator: Generator = ChatGenerator(engine, renderer)
    rows = generator.generate(ASKED, sampling, n=4)
    sampled = engine.generate([renderer.prompt(messages) for messages in ASKED], sampling, 4)
    answers = [answer for row in rows for answer in row]
    for answer, wanted in zip(answers, [one for row in sampled for one in row], strict=True):
        assert (answer.ids, answer.logprobs, answer.stop) == (wanted.ids, wanted.logprobs, wanted.stop)
        said = answer.ids[:-1] if answer.stop is Stop.EOS else answer.ids
        assert answer.text == tokenizer.decode(said)
        assert answer.version == 12
    assert {answer.stop for answer in answers} == {Stop.EOS, Stop.LENGTH}


def test_each_prompt_may_have_a_seed_of_its_own(parts: tuple[Engine, Renderer, Tokenizer]) -> None:
    engine, renderer, _ = parts
    generator: Generator = ChatGenerator(engine, renderer)
    sampling = Sampling(max_new_tokens=20, seed=3)
    first, second, again = (answer.ids for [answer] in generator.generate([ASKED[0]] * 3, sampling, seeds=[3, 4, 3]))
    alone = [generator.generate(ASKED[:1], replace(sampling, seed=seed))[0][0].ids for seed in (3, 4)]
    assert [first, second] == alone
    assert first == again != second


def test_a_stop_string_ends_an_answer_and_is_not_in_its_text(parts: tuple[Engine, Renderer, Tokenizer]) -> None:
    engine, renderer, _ = parts
    generator = ChatGenerator(engine, renderer)
    free = Sampling(max_new_tokens=150, seed=3)
    whole = [answer for row in generator.generate(ASKED, free, n=4) for answer in row]
    strings = tuple(sorted({each for answer in whole[:2] for each in answer.text if each.isascii()}))[:2]
    cut = [answer for row in generator.generate(ASKED, replace(free, stop=strings), n=4) for answer in row]
    assert Stop.STRING in {answer.stop for answer in cut[:2]}
    for answer, full in zip(cut, whole, strict=True):
        assert answer.ids == full.ids[: len(answer.ids)]
        ends = [full.text.index(string) for string in strings if string in full.text]
        assert answer.text == full.text[: min(ends, default=None)]
        if answer.stop is Stop.STRING:
            assert any(string in renderer.parse(answer.ids)[0] for string in strings)
            assert not any(string in renderer.parse(answer.ids[:-1])[0] for string in strings)
