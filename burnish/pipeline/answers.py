"""Answers to many prompts, some at a time. Knows a generator and where parts are kept; knows no row that is made of
answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from burnish.data.order import seeds_of
from burnish.records.parts import Parts
from burnish.types import Completion, Generator, Progress, Prompt, Sampling


def answered(
    generator: Generator,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    n: int,
    rows: Callable[[Sequence[Prompt], Sequence[Sequence[Completion]]], Iterable[Any]],
    *,
    parts: Parts,
    at_once: int,
    label: str,
    progress: Progress,
) -> list[Any]:
    """What `rows` makes of prompts and n answers to each, `at_once` prompts a part. A prompt that stands there again is
    answered anew, whatever part it is in."""
    asked = list(zip(prompts, seeds_of(sampling.seed, [each.messages for each in prompts]), strict=True))

    def made(part: Sequence[tuple[Prompt, int]]) -> Iterable[Any]:
        own, seeds = [prompt for prompt, _ in part], [seed for _, seed in part]
        return rows(own, generator.generate([prompt.messages for prompt in own], sampling, n=n, seeds=seeds))

    return parts.rows(label, asked, at_once, made, progress)
