"""How the next token is drawn from logits. Knows numbers; knows no model and no sequence.

Suffixes: A sequences, V vocabulary, D draws. Natural logarithms.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.types import Sampling

BLOCK = 256
"""The distribution function is summed over blocks of this many tokens first: fewer roundings and fewer passes."""
ROWS = 16
"""Rows drawn at once on a CPU: larger ones leave the processor's cache between passes. A GPU draws all at once."""
NUCLEUS = 1024
"""Most likely tokens looked at first for top_p; where they do not reach it, the whole vocabulary is sorted."""


def key(seed: int, prompt: Sequence[int], sample: int) -> int:
    """What one answer's random numbers depend on, in 128 bits."""
    words = np.array([seed, sample, *prompt], dtype=np.int64)
    return int.from_bytes(hashlib.sha256(words.tobytes()).digest()[:16], "little")


def uniforms(seed: int, prompt: Sequence[int], sample: int, count: int) -> np.ndarray:
    """The random numbers of one answer, in [0, 1): a pure function of seed, prompt, sample number and step. Shape D.

    A larger `count` begins with the same numbers, so that the budget does not change an answer that fits it.
    """
    return np.random.Generator(np.random.Philox(key=key(seed, prompt, sample))).random(count)


def draw(
    logits_AV: Tensor, uniform_A: Tensor, sampling: Sampling, seen_AV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One token a sequence, and its log-probability under the distribution that it was drawn from.

    That is softmax(logits / temperature), the logits penalised first, cut by top_k, top_p and min_p, and made to sum to
    one again. A trainer's scorer knows the temperature alone: its log-probabilities are these without penalty and cuts.
    Temperature 0 takes the most likely token; its log-probability is that of the (penalised) logits at temperature 1,
    because a certain choice always has 0.

    Args: logits_AV any float type, taken to fp32; uniform_A fp64 in [0, 1); seen_AV which tokens each sequence has
    already, needed where there is a penalty.
    Returns: ids_A int64, logprobs_A fp32, not finite where the logits are not.
    """
    assert seen_AV is not None or sampling.repetition_penalty == 1
    count = ROWS if logits_AV.device.type == "cpu" else max(1, len(logits_AV))
    parts = [
        _draw_rows(_taken(logits_AV, seen_AV, rows, sampling.repetition_penalty), uniform_A[rows], sampling)
        for rows in (slice(start, start + count) for start in range(0, len(logits_AV), count))
    ]
    ids, logprobs = zip(*parts, strict=True)
    return torch.cat(ids), torch.cat(logprobs)


def penalised(logits_AV: Tensor, seen_AV: Tensor, penalty: float) -> Tensor:
    """Logits of seen tokens divided by the penalty where positive, multiplied where not. Source: Keskar et al. 2019,
    section 4.1, with the sign minded as transformers does."""
    return torch.where(seen_AV, torch.where(logits_AV > 0, logits_AV / penalty, logits_AV * penalty), logits_AV)


def best(logits_AV: Tensor, top_k: int) -> Tensor:
    """Logits with all but the `top_k` highest at -inf; equals of the last kept are kept. Source: Fan et al. 2018."""
    last_A1 = logits_AV.topk(min(top_k, logits_AV.shape[1])).values[:, -1:]
    return logits_AV.masked_fill(logits_AV < last_A1, float("-inf"))


def likely(logits_AV: Tensor, min_p: float) -> Tensor:
    """Logits at -inf where the probability is below `min_p` times the highest. Source: Nguyen et al. 2024."""
    return logits_AV.masked_fill(logits_AV < logits_AV.amax(-1, keepdim=True) + math.log(min_p), float("-inf"))


def nucleus(logits_AV: Tensor, top_p: float) -> Tensor:
    """Logits with all but the most likely tokens at -inf: the fewest that together reach `top_p`.

    Equals of the last one kept are kept with it, so that a row's cut depends on its numbers alone. Source: Holtzman
    et al. 2020.
    """
    best_AD = logits_AV.topk(min(NUCLEUS, logits_AV.shape[1])).values
    normaliser_A = logits_AV.logsumexp(-1)
    if bool(((best_AD.logsumexp(-1) - normaliser_A).exp() < top_p).any()):
        best_AD = logits_AV.sort(descending=True).values
    reached_AD = (best_AD - normaliser_A[:, None]).exp().cumsum(-1)
    last_A = (reached_AD < top_p).sum(-1).clamp(max=best_AD.shape[1] - 1)
    return logits_AV.masked_fill(logits_AV < best_AD.gather(-1, last_A[:, None]), float("-inf"))


def _taken(logits_AV: Tensor, seen_AV: Tensor | None, rows: slice, penalty: float) -> Tensor:
    rows_AV = logits_AV[rows].float()
    return rows_AV if seen_AV is None or penalty == 1 else penalised(rows_AV, seen_AV[rows], penalty)


def _draw_rows(logits_AV: Tensor, uniform_A: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    if sampling.temperature == 0:
        return logits_AV.argmax(-1), logits_AV.softmax(-1).amax(-1).log()
    if sampling.temperature != 1:
        logits_AV = logits_AV / sampling.temperature
    if sampling.top_k is not None:
        logits_AV = best(logits_AV, sampling.top_k)
    if sampling.top_p < 1:
        logits_AV = nucleus(logits_AV, sampling.top_p)
    if sampling.min_p > 0:
        logits_AV = likely(logits_AV, sampling.min_p)
    return _invert(logits_AV, uniform_A)


def _invert(logits_AV: Tensor, uniform_A: Tensor) -> tuple[Tensor, Tensor]:
    """The token at which the distribution function passes `uniform`: first its block, then its place in the block."""
    mass_AV = logits_AV.softmax(-1)
    mass_ABb = F.pad(mass_AV, (0, -mass_AV.shape[1] % BLOCK)).view(len(mass_AV), -1, BLOCK)
    edges_AB = mass_ABb.sum(-1).double().cumsum(-1)
    total_A = edges_AB[:, -1]
    point_A = uniform_A * total_A
    block_A = _first_above(edges_AB, point_A)
    start_A = F.pad(edges_AB, (1, 0)).gather(-1, block_A[:, None]).squeeze(-1)
    row_A = torch.arange(len(mass_AV), device=mass_AV.device)
    inner_Ab = mass_ABb[row_A, block_A].double().cumsum(-1)
    ids_A = block_A * BLOCK + _first_above(inner_Ab, point_A - start_A)
    chosen_A = mass_AV.gather(-1, ids_A.clamp(max=logits_AV.shape[1] - 1)[:, None]).squeeze(-1)
    return ids_A, chosen_A.log() - total_A.log().float()


def _first_above(edges_AN: Tensor, point_A: Tensor) -> Tensor:
    """Index of the first edge above the point; a point that rounding has pushed past the last edge counts as below it.

    Edges never fall, so the place found has mass: a token of probability 0 is never drawn.
    """
    last_A = torch.nextafter(edges_AN[:, -1], torch.zeros_like(point_A))
    found_A = torch.searchsorted(edges_AN, torch.minimum(point_A, last_A)[:, None], right=True).squeeze(-1)
    return found_A.clamp(max=edges_AN.shape[1] - 1)  # only NaN gets past the end; the log-probability shows it
