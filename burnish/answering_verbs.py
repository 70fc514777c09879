"""The verbs with which a model answers: a person, a file of prompts, and often, for rewards to choose. One function
each, which imports what it needs. Knows verbs and options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from burnish.options import Answers, Budget, Column, Json, Prompts, Set, Speaks, Warmth, writable
from burnish.terminal import converse, emit, progress

CHOOSES = "What chooses: a reward model (run, folder or Hub id), or a YAML file with `rewards` as a recipe lists them."


def chat(
    model: Speaks,
    system: Annotated[str, typer.Option(help="The system turn.")] = "",
    once: Annotated[str | None, typer.Option(metavar="TEXT", help="Answer this and stop.")] = None,
    temperature: Warmth = 0.0,
    max_new_tokens: Budget = 128,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Talk to a model. A release is verified first. --set takes what a recipe's sampling does, for example top_k=40."""
    from burnish.pipeline.talk import Talk, drawn

    talk = Talk.open(model, system, drawn(temperature, max_new_tokens, overrides or ()), progress())
    if once is None:
        converse(talk.say)
    else:
        answer = talk.say(once)
        emit({"model": model, "prompt": once, "answer": answer}, answer, json)


def sample(
    model: Speaks,
    prompts: Prompts,
    prompt_column: Column = None,
    n: Answers = 1,
    out: Annotated[Path | None, typer.Option(help="Write the rows here. Without it: to the output.")] = None,
    temperature: Warmth = 1.0,
    max_new_tokens: Budget = 128,
    seed: int = 0,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Answers to a file of prompts, as JSON lines. --set takes what a recipe's sampling does, for example top_k=40."""
    from json import dumps

    writable(out, "answers.jsonl")
    from burnish.pipeline import talk
    from burnish.records.formats import read_prompts

    sampling = talk.drawn(temperature, max_new_tokens, overrides or (), seed)
    rows = talk.sample(model, read_prompts(prompts, prompt_column), sampling, n, progress(), out)
    if out is None:
        emit(rows, "\n".join(dumps(row, ensure_ascii=False) for row in rows), False)
    else:
        emit({"rows": len(rows), "out": str(out)}, f"{len(rows)} rows in {out}", json)


def best_of_n(
    model: Speaks,
    prompts: Prompts,
    reward: Annotated[Path, typer.Option(help=CHOOSES)],
    out: Annotated[Path, typer.Option(help="Write the best answers here, as rows that sft learns from.")],
    prompt_column: Column = None,
    n: Answers = 16,
    temperature: Warmth = 1.0,
    max_new_tokens: Budget = 128,
    seed: int = 0,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Answer each prompt n times, keep what the rewards like best, and say what each smaller n would be worth."""
    writable(out, "best.jsonl")
    from burnish.pipeline.best_of_n import choose
    from burnish.pipeline.talk import drawn
    from burnish.records.formats import read_prompts

    sampling = drawn(temperature, max_new_tokens, overrides or (), seed)
    found = choose(model, reward, read_prompts(prompts, prompt_column), out, sampling, n, progress())
    emit(found.as_json() | {"out": str(out)}, f"{found.as_text()}\n{len(found.rows)} rows in {out}", json)


VERBS = {"chat": chat, "sample": sample, "best-of-n": best_of_n}
