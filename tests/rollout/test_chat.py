"""Conversations through the renderer, the engine and back."""

from __future__ import annotations

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
    engine = Engine(load_trainable(folder, dtype=torch.float32), end_id=tokenizer.end_id, slots=4)
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
    assert {answer.stop for answer in answers} == set(Stop)
