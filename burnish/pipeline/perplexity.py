"""How well a model predicts given text: what it keeps of the language while it learns to answer. Knows a model folder
and texts; asks for no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from burnish.batches import pack
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import PIECE, text_documents
from burnish.data.packing import best_fit
from burnish.losses.policy import answer_means
from burnish.models.load import load_trainable, pick_dtype
from burnish.pipeline.settings import DType
from burnish.pipeline.training import positions
from burnish.train.objectives import predicted
from burnish.types import Progress, Text

MICRO_TOKENS = 2048


@torch.no_grad()
def losses(model: Path, texts: Sequence[Text], dtype: DType, progress: Progress) -> Mapping[str, float]:
    """For each piece of the texts, its mean negative log-likelihood in nats a token, given what stands before in it.

    Raises DataError for texts of which no piece has two tokens.
    """
    tokenizer = Tokenizer.load(model)
    length = min(PIECE, positions(model) or PIECE)
    documents = text_documents(tokenizer, texts, length, "evaluate.texts")
    module = load_trainable(model, dtype=pick_dtype(dtype)).eval()
    found: dict[str, float] = {}
    progress.start(f"perplexity: {len(documents)} pieces", len(documents))
    for part in best_fit(documents, MICRO_TOKENS):
        batch = pack(part)
        means_N = answer_means(predicted(module(batch)), batch.answer_N)
        for answer, row in enumerate(batch.rows):
            found[row] = -float(means_N[batch.answer_N == answer][0])
        progress.advance(len(part))
    progress.finish()
    return {document.row: found[document.row] for document in documents}
