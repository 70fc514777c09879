"""What a model that learns nothing makes of answers: its last hidden state at each one's end. Knows no preference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from burnish.batches import Batch
from burnish.chat.render import Renderer
from burnish.data.documents import ranked_documents
from burnish.models.forward import Trainable
from burnish.pipeline.ranked import Side, scores_of
from burnish.types import Progress, Prompt, Ranking

MICRO_TOKENS = 4096
"""Of one forward pass; a prompt with longer answers passes alone."""
ROWS = 32
"""Between two words of progress."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Frozen:
    module: Trainable

    @torch.no_grad()
    def scores(self, batch: Batch) -> Tensor:
        """Shape B, C."""
        hidden_TC = self.module.hidden(batch)
        return hidden_TC[batch.last_B.to(hidden_TC.device)].float().cpu()


def asked_side(renderer: Renderer, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> Side:
    """Prompts with answers that nobody has put in order, as a model reads them."""
    rows = [
        Ranking(prompt=prompt, completions=tuple(texts), ranks=(1,) * len(texts))
        for prompt, texts in zip(prompts, answers, strict=True)
    ]
    documents = [
        replace(document, row=f"{document.row}#{number}")
        for number, document in enumerate(ranked_documents(renderer, rows))
    ]
    return Side(documents=documents, rows=rows)


def budget_of(side: Side) -> int:
    """Tokens of a forward pass in which every document fits."""
    return max(MICRO_TOKENS, max((document.tokens for document in side.documents), default=0))


def read_features(module: Trainable, side: Side, progress: Progress) -> list[Floats]:
    """For each row the features of its answers, [answers, C]."""
    found: list[list[list[float]]] = []
    progress.start("reading answers", len(side.documents))
    for start in range(0, len(side.documents), ROWS):
        part = side.documents[start : start + ROWS]
        found += cast("list[list[list[float]]]", scores_of(_Frozen(module), part, budget_of(side)))
        progress.advance(len(part))
    progress.finish()
    return [np.array(each, dtype=np.float64) for each in found]


def principal(rows: Sequence[Floats], count: int) -> list[Floats]:
    """The same answers by their `count` principal components, each of the same variance, that of all together 1.

    So a linear model needs few judgements: with weights that are standard normal beforehand, the log-odds of two
    answers have a variance of about 2."""
    all_AC = np.concatenate(rows)
    centre_C = all_AC.mean(0)
    _, spread_K, axes_KC = np.linalg.svd(all_AC - centre_C, full_matrices=False)
    kept = min(count, int((spread_K > 1e-9 * max(float(spread_K[0]), 1e-300)).sum()))
    scale_K = spread_K[:kept] / np.sqrt(len(all_AC)) * np.sqrt(kept)
    return [(row_AC - centre_C) @ axes_KC[:kept].T / scale_K for row_AC in rows]
