"""Training computed in bfloat16, with fp32 masters, follows the loss curve of fp32: on the real model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import example_document
from burnish.errors import MachineError
from burnish.models.load import load_trainable
from burnish.models.sources import ALIAS, resolve
from burnish.records.formats import read_examples
from burnish.runs import MetricsLog
from burnish.train.feeds import DatasetFeed
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Sft
from burnish.train.optim import OptimConfig, Optimizer
from burnish.types import Silent

CONVERSATIONS = Path(__file__).parents[2] / "recipes" / "support" / "conversations.jsonl"
STEPS = 100
WINDOW = 20


def curve(folder: Path, dtype: torch.dtype, out: Path) -> torch.Tensor:
    """The loss of each of 100 steps of two conversations, every weight training."""
    renderer = Renderer(Tokenizer.load(folder))
    documents = [example_document(renderer, example) for example in read_examples(CONVERSATIONS)[: 2 * STEPS]]
    module = load_trainable(folder, dtype=dtype)
    optimizer = Optimizer(module, OptimConfig(lr=1e-4, steps=STEPS, warmup_steps=5))
    log = MetricsLog(out)
    feed = DatasetFeed(documents, per_step=2, micro_tokens=2048, seed=1)
    fit(module, feed, Sft(), optimizer, FitConfig(steps=STEPS, seed=1), log=log)
    return torch.tensor([line["loss"] for line in log.read()])


@pytest.mark.slow
@pytest.mark.proof
def test_the_loss_follows_that_of_fp32_for_a_hundred_steps(tmp_path: Path) -> None:
    """bfloat16 keeps 8 bits: one rounding is 2⁻⁹ = 0.2% at most.

    Some hundred of them in a row, with changing signs, move a step's loss by a few of these; what is common to all
    steps, a drift, must stay below two.
    """
    try:
        folder = resolve(ALIAS, Path(), Silent())
    except MachineError as error:
        pytest.skip(str(error))
    exact = curve(folder, torch.float32, tmp_path / "fp32")
    rounded = curve(folder, torch.bfloat16, tmp_path / "bfloat16")
    apart = (rounded - exact) / exact
    drift = apart.unfold(0, WINDOW, 1).mean(-1)
    print(f"loss {exact[:WINDOW].mean():.3f} to {exact[-WINDOW:].mean():.3f}")
    print(f"steps apart by {apart.abs().max():.2%} at most, windows of {WINDOW} by {drift.abs().max():.2%}")
    assert exact[-WINDOW:].mean() < 0.9 * exact[:WINDOW].mean(), "a curve that does not fall shows nothing"
    assert apart.abs().max() < 8 * 2**-9
    assert drift.abs().max() < 2 * 2**-9
