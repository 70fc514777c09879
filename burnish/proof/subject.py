"""What a law is tried on: a model's folder, documents, and the methods on them. Knows how to load and pack; measures
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from burnish.batches import Batch, Document, pack
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.forward import Layout, Trainable
from burnish.models.load import load_trainable
from burnish.models.lora import adaptable
from burnish.models.probe import windows
from burnish.proof.material import Material, Rows, past, render
from burnish.proof.methods import ALL, FULL, WAYS, Method
from burnish.proof.step import Step, one_step
from burnish.train.feeds import mismatched
from burnish.types import Progress, Silent

NEW_TOKENS = 8
"""So many are sampled after a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One method, trained in one way, and its documents."""

    method: Method
    module: Trainable
    """In fp32, with the method's heads."""
    documents: Sequence[Document]
    extras: dict[str, dict[str, Tensor]]
    """What the feed adds to each document, by row: functions of the document, not of the pack that it comes to."""
    beside: Sequence[Document] = ()
    """What the objective has measured before the step."""

    def batch(self, documents: Sequence[Document]) -> Batch:
        return self.filled(pack(documents))

    def filled(self, batch: Batch) -> Batch:
        """The batch with what the feed adds."""
        names = self.extras[batch.rows[0]]
        return batch.with_extra(**{name: torch.cat([self.extras[row][name] for row in batch.rows]) for name in names})

    def step(self, *batches: Batch) -> Step:
        """The step of these micro-batches."""
        return one_step(self.module, self.method.objective, batches, self.measured(batches))

    def measured(self, batches: Sequence[Batch]) -> list[Batch]:
        """What is measured beside them, cut where they are: document by document, where they are more than one."""
        cut = [[each] for each in self.beside] if len(batches) > 1 else [list(self.beside)]
        return [self.batch(part) for part in cut if part]


class Subject:
    """A model and documents for it. Models are loaded when they are first asked for, and then kept."""

    def __init__(self, folder: Path, rows: Rows, progress: Progress = Silent()) -> None:
        """Raises ModelError where the folder holds no model, DataError where its template refuses the rows."""
        self.folder = folder
        self.progress = progress
        self.tokenizer = Tokenizer.load(folder)
        self.renderer = Renderer(self.tokenizer)
        self._rendered = render(self.renderer, rows)
        self._loaded: dict[str, Trainable] = {}
        self._extras: dict[tuple[str, str], dict[str, dict[str, Tensor]]] = {}

    @cached_property
    def material(self) -> Material:
        """Made to reach past the model's windows, where its context has room for that and for what is sampled."""
        module = self.module()
        room = None if module.context is None else module.context - NEW_TOKENS
        return past(self._rendered, windows(module), room)

    @property
    def layout(self) -> Layout:
        return self.module().layout

    @property
    def adaptable(self) -> bool:
        """Whether the backbone has layers that an adapter can be put on."""
        return bool(adaptable(self.module().backbone))

    @property
    def prompts(self) -> list[list[int]]:
        return [list(tree.ids) for tree in self.material.trees]

    def module(self, way: str = FULL) -> Trainable:
        """The model in fp32 with every head. Whoever changes its weights loads its own (`load`)."""
        if way not in self._loaded:
            self._loaded[way] = self.load(way)
        return self._loaded[way].eval()

    def load(self, way: str = FULL, *, dtype: torch.dtype = torch.float32) -> Trainable:
        """The model anew, with every head. New heads are the same each time, and none is zero."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = load_trainable(self.folder, dtype=dtype, value=True, score=True)
            assert module.value is not None
            if not module.value.weight.any():
                nn.init.normal_(module.value.weight, std=(module.value.in_features + 1) ** -0.5)
            WAYS[way](module)
        return module

    def trial(self, method: str, way: str = FULL) -> Trial:
        """A method on the subject's documents."""
        found = ALL[method]
        module = with_heads(self.module(way), found.heads)
        documents = self._of(found)
        beside = mismatched(documents) if found.measures else []
        if (method, way) not in self._extras:
            self._extras[method, way] = {each.row: self._added(found, module, each) for each in (*documents, *beside)}
        return Trial(method=found, module=module, documents=documents, extras=self._extras[method, way], beside=beside)

    @torch.no_grad()
    def _added(self, method: Method, module: Trainable, document: Document) -> dict[str, Tensor]:
        batch = pack([document])
        return method.added(batch, module(batch), self.material.ranks.get(document.row, ()))

    def _of(self, method: Method) -> Sequence[Document]:
        return self.material.trees if method.trees else self.material.conversations


def with_heads(module: Trainable, heads: frozenset[str]) -> Trainable:
    """The same backbone with only these heads, on the same weights."""
    found = Trainable(
        module.backbone,
        lm=module.lm if "lm" in heads else None,
        value=module.value if "value" in heads else None,
        score=module.score if "score" in heads else None,
        layout=module.layout,
    ).eval()
    found.target_logprobs = module.target_logprobs
    return found
