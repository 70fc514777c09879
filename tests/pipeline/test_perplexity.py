"""How well a model predicts text."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import PIECE
from burnish.errors import DataError
from burnish.models.tiny import write_tiny
from burnish.pipeline.perplexity import losses
from burnish.types import Silent, Text

LONG = "A gull stole the chips, and the dog laughed. " * 8


def test_a_piece_s_loss_is_its_mean_cross_entropy_token_by_token(tmp_path: Path) -> None:
    write_tiny(tmp_path / "model")
    ids = Tokenizer.load(tmp_path / "model").encode(LONG)
    pieces = [ids[start : start + PIECE] for start in range(0, len(ids), PIECE)]
    assert len(pieces) == 2
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    wanted: list[float] = []
    for piece in pieces:
        with torch.no_grad():
            logits_TV = model(torch.tensor([piece])).logits[0]
        wanted.append(float(F.cross_entropy(logits_TV[:-1], torch.tensor(piece[1:]))))
    found = losses(tmp_path / "model", [Text(id="sea", content=LONG)], "float32", Silent())
    assert list(found) == ["sea#0", "sea#1"]
    assert list(found.values()) == pytest.approx(wanted, rel=1e-5)


def test_texts_without_two_tokens_are_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path / "model")
    with pytest.raises(DataError, match="no text has two tokens"):
        losses(tmp_path / "model", [Text(id="dot", content=".")], "float32", Silent())
