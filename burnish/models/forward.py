"""The one trainable module: a backbone, its LM head where tokens are predicted, and scalar heads. Beside the generation
engine the only place that calls a backbone or an LM head. Knows packed trees; knows no loss and no method.

And the only place beside it that knows a device. Batches lie on the CPU, and so does what a forward pass gives, a few
numbers a target: feeds, objectives and their figures are the same on a GPU, and cost one transfer a pass.

Suffixes as in batches: T tokens, N targets, B answers; C hidden width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from burnish.batches import Batch
from burnish.errors import DataError, Problem
from burnish.losses.tokens import entropy, target_logprobs
from burnish.models.attention import Attend
from burnish.models.flex import tree_attention

CHUNK = 512
"""Rows of logits that exist at once: 512 x 49,152 fp32 is 100 MB."""
KEPT = 2
"""So many chunks are kept for the backward pass; with more, it computes them all again, which costs a quarter more."""


class Layout(Enum):
    """How a batch reaches the backbone."""

    TREE = "tree"
    """Packed, branches sharing their prompt: the probe found it exact for this architecture."""
    ROWS = "rows"
    """One sequence at a time with the architecture's own attention: slow, and right for any decoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a forward pass gives, on the CPU; None where the module has no such head."""

    logprobs_N: Tensor | None = None
    entropy_N: Tensor | None = None
    """A metric, given where `measures_entropy` is set and no gradient is asked for: it costs as much as the LM head."""
    values_N: Tensor | None = None
    scores_B: Tensor | None = None
    logits: Callable[[slice], Tensor] | None = None
    """Of a slice of the targets the whole distribution's logits, temperature included, when asked: all at once they
    would be too many to hold. They stay where the weights are."""


class Trainable(nn.Module):
    """Backbone and heads. `lm` predicts tokens, `value` reads each target's source, `score` reads each answer's end."""

    def __init__(
        self,
        backbone: nn.Module,
        *,
        lm: nn.Linear | None = None,
        value: nn.Linear | None = None,
        score: nn.Linear | None = None,
        layout: Layout = Layout.TREE,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.lm = lm
        self.value = value
        self.score = score
        self.layout = layout
        self.target_logprobs = target_logprobs
        """What computes them of logits; whoever places the module may know something faster."""
        self.measures_entropy = False
        self.chunk = CHUNK
        self.longest = longest_of(backbone)
        """Most tokens of a sequence, prompt and answer, where more would change the sequences beside it or have no
        positions; else None."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def context(self) -> int | None:
        """Most tokens of a sequence that it was made for; None where nothing says."""
        return self.longest or getattr(getattr(self.backbone, "config", None), "max_position_embeddings", None)

    def forward(self, batch: Batch) -> Output:
        hidden_TC = self.hidden(batch)
        source_NC = hidden_TC[batch.source_N.to(hidden_TC.device)]
        logprobs_N = entropy_N = values_N = scores_B = None
        if self.lm is not None and batch.source_N.numel():
            logprobs_N, entropy_N = self._predict(source_NC, batch)
        if self.value is not None:
            values_N = self.value(source_NC.float()).squeeze(-1)
        if self.score is not None:
            scores_B = self.score(hidden_TC[batch.last_B.to(hidden_TC.device)].float()).squeeze(-1)

        def logits(rows: slice) -> Tensor:
            return self._logits(source_NC[rows], batch.temperature)

        return Output(
            logprobs_N=_home(logprobs_N),
            entropy_N=_home(entropy_N),
            values_N=_home(values_N),
            scores_B=_home(scores_B),
            logits=None if self.lm is None else logits,
        )

    def hidden(self, batch: Batch, attend: Attend | None = None) -> Tensor:
        """Hidden states after the last norm, where the weights are. `attend` replaces the tree's attention.
        Shape T, C."""
        if self.longest is not None:
            _check_lengths(batch, self.longest)
        if self.layout is Layout.ROWS:
            return self._hidden_by_rows(batch)
        output: Any = self.backbone(
            input_ids=batch.ids_T[None].to(self.device),
            position_ids=batch.positions_T[None].to(self.device),
            attend=attend or tree_attention(batch, self.device),
            use_cache=False,
        )
        return output.last_hidden_state[0]

    def _hidden_by_rows(self, batch: Batch) -> Tensor:
        found: list[Tensor | None] = [None] * batch.tokens
        for path in batch.paths():
            output: Any = self.backbone(
                input_ids=batch.ids_T[path][None].to(self.device),
                position_ids=batch.positions_T[path][None].to(self.device),
                use_cache=False,
            )
            for index, state_C in zip(path.tolist(), output.last_hidden_state[0], strict=True):
                if found[index] is None:
                    found[index] = state_C
        return torch.stack([state_C for state_C in found if state_C is not None])

    def _predict(self, source_NC: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        target_N = batch.target_N.to(source_NC.device)
        chunks = list(zip(source_NC.split(self.chunk), target_N.split(self.chunk), strict=True))
        if torch.is_grad_enabled():
            if len(chunks) <= KEPT:
                parts = [self._logprobs(*chunk, batch.temperature) for chunk in chunks]
            else:
                parts = [checkpoint(self._logprobs, *chunk, batch.temperature, use_reentrant=False) for chunk in chunks]
            return torch.cat(parts), None
        logprobs, entropies = [], []
        for rows_NC, target_N in chunks:
            logits_NV = self._logits(rows_NC, batch.temperature)
            logprobs.append(self.target_logprobs(logits_NV, target_N))
            if self.measures_entropy:
                entropies.append(entropy(logits_NV))
        return torch.cat(logprobs), torch.cat(entropies) if entropies else None

    def _logprobs(self, rows_NC: Tensor, target_N: Tensor, temperature: float) -> Tensor:
        return self.target_logprobs(self._logits(rows_NC, temperature), target_N)

    def _logits(self, rows_NC: Tensor, temperature: float) -> Tensor:
        assert self.lm is not None
        logits_NV = self.lm(rows_NC)
        return logits_NV if temperature == 1.0 else logits_NV.float() / temperature


def _home(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()


def longest_of(backbone: Any) -> int | None:
    """Beyond which length there are no positions, or a rotation depends on the longest sequence of the batch, so that
    no two could share one.

    transformers turns every token of the batch otherwise then, those of a prompt by the length of its answer too.
    Where positions are learned they stand in a table, OPT's with two rows more.
    """
    config: Any = getattr(backbone, "config", None)
    stated: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    kinds = [stated, *(part for part in stated.values() if isinstance(part, dict))]  # one, or one a kind of layer
    limits = [config.max_position_embeddings for kind in kinds if kind.get("rope_type") == "dynamic"]
    limits += [kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"]
    if not stated and (rows := getattr(config, "max_position_embeddings", None)):
        tables = {part for part in backbone.modules() if isinstance(part, nn.Embedding)}
        tables -= {backbone.get_input_embeddings()}
        limits += [rows for table in tables if table.num_embeddings - rows in (0, 2)]
    return min(limits, default=None)


def _check_lengths(batch: Batch, longest: int) -> None:
    """Raises: DataError naming each document that is too long."""
    long = (batch.positions_T >= longest).nonzero().flatten()
    rows = sorted({batch.rows[int(batch.document_S[int(batch.segment_T[token])])] for token in long})
    if rows:
        found = f"longer than {longest} tokens, up to which this model has positions for a document in a batch"
        raise DataError(*(Problem(row, found, "Leave it out, or make it shorter.") for row in rows))


def scalar_head(width: int, *, std: float) -> nn.Linear:
    """A linear map to one number, kept in fp32. `std` 0 for values (they start at 0), 1/√(width+1) for scores."""
    head = nn.Linear(width, 1, dtype=torch.float32)
    nn.init.normal_(head.weight, std=std) if std else nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
