from __future__ import annotations

import pytest

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.tiny import tiny_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def renderer(tokenizer: Tokenizer) -> Renderer:
    return Renderer(tokenizer)
