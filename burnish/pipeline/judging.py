"""Who judges a campaign: the simulated panel, or people that are waited for. Knows the service that both act through.

The panel's plan (who judges which prompt), its opinions and its submission ids are pure functions of the campaign's key
and the recipe: a killed run neither loses a judgement nor makes one twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from burnish.errors import Problem, WaitingError
from burnish.judge.panel import Member, Panel
from burnish.judge.rubric import Rubric
from burnish.label import service
from burnish.pipeline.recipe import Collect
from burnish.pipeline.stage import Context
from burnish.records.durable import digest_value
from burnish.store import queries
from burnish.store.session import Store
from burnish.types import Progress

ASK_EVERY = 2.0
"""Seconds between looks at the database while people judge."""


def judge(store: Store, campaign: int, context: Context, settings: Collect) -> None:
    """Return when every prompt of the campaign is judged by as many as the recipe wants."""
    if settings.by == "people":
        _wait(store, campaign, context)
    else:
        assert settings.rubric is not None
        rubric = Rubric.load(context.path(settings.rubric))
        panel = Panel(rubric, settings.panel.members, settings.panel.tie_within)
        _simulate(store, campaign, context, panel, settings.overlap)


def plan(prompt_ids: Sequence[str], members: Sequence[Member], overlap: int) -> Iterator[tuple[str, Member]]:
    """Who judges what: each prompt goes to `overlap` members in turn, so that everyone judges with everyone."""
    for place, prompt_id in enumerate(sorted(prompt_ids)):
        for seat in range(overlap):
            yield prompt_id, members[(place + seat + place // len(members)) % len(members)]


def _simulate(store: Store, campaign: int, context: Context, panel: Panel, overlap: int) -> None:
    ids = {member.name: service.join(store, member.name, "simulated") for member in panel.members}
    with store.reading() as session:
        prompts = [item.prompt.id for item in queries.items(session, campaign)]
        done = {(said.prompt_id, said.annotator) for said in queries.judgements(session, campaign)}
    wanted = list(plan(prompts, panel.members, overlap))
    context.progress.start("collect: the panel judges", len(wanted))
    for prompt_id, member in wanted:
        if (prompt_id, member.name) not in done:
            _judge_one(store, campaign, context, panel, member, ids[member.name], prompt_id)
        context.progress.advance()
    context.progress.finish()


def _judge_one(
    store: Store, campaign: int, context: Context, panel: Panel, member: Member, annotator: int, prompt_id: str
) -> None:
    task = service.next_task(store, campaign, annotator, prompt_id=prompt_id)
    assert task is not None, f"{prompt_id} has no seat for {member.name}"
    opinion = panel.rank(member, task.prompt, task.answers, context.recipe.seed)
    service.submit(
        store,
        task=task.id,
        submission=digest_value([context.key, prompt_id, member.name]),
        ranks=opinion.ranks,
        seconds=opinion.seconds,
    )


def _wait(store: Store, campaign: int, context: Context) -> None:
    """In a terminal: until all is judged. Elsewhere: raises WaitingError at once when something is left."""
    counts = service.progress(store, campaign)
    if not counts.left:
        return
    if not context.patient:
        found = f"{counts.left} of {counts.wanted} judgements are still to be made by people"
        mend = f"Run: burnish label serve {context.run}   When all is judged, the same command continues."
        raise WaitingError(Problem(str(context.run), found, mend))
    where = f"burnish label serve {context.run}"
    wait(lambda: service.progress(store, campaign).left, counts.wanted, where, context.progress)


def wait(left: Callable[[], int], wanted: int, where: str, progress: Progress) -> None:
    """Return when no judgement is left of those that are wanted. `where`: the command with which people judge."""
    progress.start(f"waiting for people: {where}", wanted)
    done = 0
    while (to_go := left()) > 0:
        progress.advance(wanted - to_go - done, f"{to_go} judgements to go")
        done = wanted - to_go
        time.sleep(ASK_EVERY)
    progress.advance(wanted - done)
    progress.finish()
