"""A writer killed at any moment: what it acknowledged is there, once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from burnish.store import events, queries
from burnish.store.session import Store, open_store

WRITER = """
import sys
from burnish.label import service
from burnish.store.session import open_store

store = open_store(sys.argv[1])
people = [service.join(store, name, "simulated") for name in ("Amina", "Bob", "Chen")]
print("ready", flush=True)
while True:
    for who in people:
        task = service.next_task(store, 1, who)
        if task:
            said = service.submit(store, task=task.id, submission=f"{who}-{task.prompt.id}", ranks=[1, 2], seconds=1.0)
            print(said.id, flush=True)
"""
KILLS = 2


def run_and_kill(place: str, after: int, wait: float) -> list[str]:
    """Ids that the writer acknowledged before it was killed, a moment after the `after`-th of them."""
    with subprocess.Popen([sys.executable, "-c", WRITER, place], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        acknowledged = [writer.stdout.readline() for _ in range(after)]
        time.sleep(wait)
        writer.kill()
        acknowledged += writer.stdout.readlines()
    return [line.strip() for line in acknowledged if line.endswith("\n")]


def test_no_acknowledged_judgement_is_lost_or_doubled(store: Store, fill: Callable[..., int]):
    campaign = fill(store, items=100, overlap=2, k=2)
    store.close()
    place = store.url.render_as_string(hide_password=False)
    acknowledged: list[str] = []
    for kill in range(KILLS):
        acknowledged += run_and_kill(place, after=3 + kill, wait=0.0031 * kill)
    assert len(acknowledged) >= 3 * KILLS
    assert len(set(acknowledged)) == len(acknowledged)
    again = open_store(store.url)
    with again.reading() as read:
        said = queries.judgements(read, campaign)
        assert set(acknowledged) <= {each.id for each in said}
        assert len(said) <= len(acknowledged) + KILLS  # at most one a kill was kept before it could be acknowledged
        assert len({(each.prompt_id, each.annotator) for each in said}) == len(said)
        assert events.verify_log(read) == 1 + 100 + 3 + len(said)
    again.close()
