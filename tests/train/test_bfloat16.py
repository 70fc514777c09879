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
    """A rounding to bfloat16 is 2⁻⁹ = 0.2% at most, and some hundred follow one another; Adam's first updates take no
    more than the sign of a small gradient. So curves part, as two runs with other sums would.

    What must hold is that no step is off by more than one in twenty, and that over twenty steps, where such differences
    cancel, what is apart is small beside what is learned: a tenth of the fall of the loss.
    """
    try:
        folder = resolve(ALIAS, Path(), Silent())
    except MachineError as error:
        pytest.skip(str(error))
    exact = curve(folder, torch.float32, tmp_path / "fp32")
    rounded = curve(folder, torch.bfloat16, tmp_path / "bfloat16")
    apart = rounded - exact
    drift = apart.unfold(0, WINDOW, 1).mean(-1).abs().max()
    fall = exact[:WINDOW].mean() - exact[-WINDOW:].mean()
    print(f"loss {exact[:WINDOW].mean():.3f} to {exact[-WINDOW:].mean():.3f}")
    print(f"steps apart by {(apart / exact).abs().max():.2%} at most, windows of {WINDOW} by {drift:.3f}")
    assert fall > 0.1 * exact[:WINDOW].mean(), "a curve that does not fall shows nothing"
    assert (apart / exact).abs().max() < 0.05
    assert drift < 0.1 * fall
