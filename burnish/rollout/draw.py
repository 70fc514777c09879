"""How the next token is drawn from logits. Knows numbers; knows no model and no sequence.

Suffixes: A sequences, V vocabulary, D draws. Natural logarithms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 256
"""The distribution function is summed over blocks of this many tokens first: fewer roundings and fewer passes."""
ROWS = 16
"""Rows drawn at once: larger ones leave the processor's cache between passes."""
NUCLEUS = 1024
"""Most likely tokens looked at first for top_p; where they do not reach it, the whole vocabulary is sorted."""


def uniforms(seed: int, prompt: Sequence[int], sample: int, count: int) -> np.ndarray:
    """The random numbers of one answer, in [0, 1): a pure function of seed, prompt, sample number and step. Shape D.

    A larger `count` begins with the same numbers, so that the budget does not change an answer that fits it.
    """
    words = np.array([seed, sample, *prompt], dtype=np.int64)
    key = int.from_bytes(hashlib.sha256(words.tobytes()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def draw(logits_AV: Tensor, uniform_A: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """One token a sequence, and its log-probability under the distribution that it was drawn from.

    That is softmax(logits / temperature), for top_p < 1 cut and made to sum to one again. Temperature 0 takes the most
    likely token; its log-probability is the model's own, at temperature 1, because a certain choice always has 0.

    Args: logits_AV any float type, taken to fp32; uniform_A fp64 in [0, 1).
    Returns: ids_A int64, logprobs_A fp32, not finite where the logits are not.
    """
    parts = [
        _draw_rows(rows_AV.float(), points_A, temperature, top_p)
        for rows_AV, points_A in zip(logits_AV.split(ROWS), uniform_A.split(ROWS), strict=True)
    ]
    ids, logprobs = zip(*parts, strict=True)
    return torch.cat(ids), torch.cat(logprobs)


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


def _draw_rows(logits_AV: Tensor, uniform_A: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    if temperature == 0:
        best_A, ids_A = logits_AV.max(-1)
        return ids_A, best_A - logits_AV.logsumexp(-1)
    if temperature != 1:
        logits_AV = logits_AV / temperature
    if top_p < 1:
        logits_AV = nucleus(logits_AV, top_p)
    return _invert(logits_AV, uniform_A)


def _invert(logits_AV: Tensor, uniform_A: Tensor) -> tuple[Tensor, Tensor]:
    """The token at which the distribution function passes `uniform`: first its block, then its place in the block."""
    top_A = logits_AV.amax(-1)
    mass_AV = (logits_AV - top_A[:, None]).exp_()
    mass_ABb = F.pad(mass_AV, (0, -mass_AV.shape[1] % BLOCK)).view(len(mass_AV), -1, BLOCK)
    edges_AB = mass_ABb.sum(-1).double().cumsum(-1)
    total_A = edges_AB[:, -1]
    point_A = uniform_A * total_A
    block_A = _first_above(edges_AB, point_A)
    start_A = F.pad(edges_AB, (1, 0)).gather(-1, block_A[:, None]).squeeze(-1)
    row_A = torch.arange(len(mass_AV), device=mass_AV.device)
    inner_Ab = mass_ABb[row_A, block_A].double().cumsum(-1)
    ids_A = block_A * BLOCK + _first_above(inner_Ab, point_A - start_A)
    chosen_A = logits_AV.gather(-1, ids_A.clamp(max=logits_AV.shape[1] - 1)[:, None]).squeeze(-1)
    return ids_A, chosen_A - top_A - total_A.log().float()


def _first_above(edges_AN: Tensor, point_A: Tensor) -> Tensor:
    """Index of the first edge above the point; a point that rounding has pushed past the last edge counts as below it.

    Edges never fall, so the place found has mass: a token of probability 0 is never drawn.
    """
    last_A = torch.nextafter(edges_AN[:, -1], torch.zeros_like(point_A))
    found_A = torch.searchsorted(edges_AN, torch.minimum(point_A, last_A)[:, None], right=True).squeeze(-1)
    return found_A.clamp(max=edges_AN.shape[1] - 1)  # only NaN gets past the end; the log-probability shows it
