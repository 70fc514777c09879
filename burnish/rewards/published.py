"""Reward models as others publish them: transformers' classes that give a sequence one score. Knows where they read,
and in whose words; knows no run.

transformers scores a sequence at its last token that is no padding, and knows padding by its id: at what a template
writes after the last answer, or before the end marker where that pads as well. So answers are read as the model's own
tokenizer and template have them, whole. Its scores are its own, neither shifted nor scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import ModelError, Problem
from burnish.models.folder import CONFIG, SCORE, read_config, read_json
from burnish.models.load import load_trainable
from burnish.models.weights import read_headers, weight_files
from burnish.rewards.model import ModelReward
from burnish.types import Message

_MEND = "Call it from a function of yours: python among the rewards."
_SCORES = ("ForSequenceClassification", "Reward")
"""What stands in the names of architectures that score or classify."""


class WholeIds:
    """The ids of a conversation up to where transformers reads its score."""

    def __init__(self, renderer: Renderer, pad_id: int | None) -> None:
        self._renderer, self._pad_id = renderer, pad_id

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        return self._renderer.prompt(messages)

    def answer(self, text: str) -> list[int]:
        ids = self._renderer.whole(text)
        kept = next((place for place in range(len(ids), 0, -1) if ids[place - 1] != self._pad_id), len(ids))
        return ids[:kept]

    def closed(self, ids: Sequence[int]) -> list[int]:
        """Of ids of its own tokenizer: an answer that was cut is read whole as well."""
        return self.answer(self._renderer.parse(ids)[0])


def is_published(folder: Path) -> bool:
    """Whether a folder says that what it holds scores or classifies, in whatever way."""
    return (folder / CONFIG).is_file() and any(part in _architecture(folder) for part in _SCORES)


def load_published(folder: Path, dtype: torch.dtype) -> tuple[ModelReward, WholeIds]:
    """A published reward model, and what it reads. Raises ModelError where it gives no score, or not as transformers'
    decoders do."""
    _require_one_score(folder)
    module = load_trainable(folder, dtype=dtype, lm=False, score=True)
    ids = WholeIds(Renderer(Tokenizer.load(folder)), read_config(folder).pad_token_id)
    return ModelReward(module.requires_grad_(False)), ids


def _require_one_score(folder: Path) -> None:
    stated, architecture = read_json(folder / CONFIG), _architecture(folder)
    kind, labels = str(stated.get("model_type")), stated.get("id2label") or {}
    count = len(labels) or stated.get("num_labels", 2)
    if architecture not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.values():
        found = f"{architecture} is code of its own, which is not run: no way to score that transformers has built in"
    elif kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or SCORE not in read_headers(weight_files(folder)):
        found = f"{architecture} gives no score at a decoder's last token ({SCORE})"
    elif count != 1:
        names = f" ({', '.join(str(name) for name in labels.values())})" if labels else ""
        found = f"{architecture} tells {count} classes apart{names}: which of them is good it does not say"
    else:
        return
    raise ModelError(Problem(str(folder / CONFIG), found, _MEND))


def _architecture(folder: Path) -> str:
    named = read_json(folder / CONFIG).get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""
