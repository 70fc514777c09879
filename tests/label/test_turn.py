"""What the judging pages ask of the database."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event

from burnish.label.turn import how_far, named, offered
from burnish.store import queries, tasks
from burnish.store.session import Store

from .conftest import Browser


def counted(store: Store) -> list[str]:
    """What is asked from here on."""
    found: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: found.append(given[2]))
    return found


def test_a_judgement_and_the_next_task_take_four_transactions_and_23_statements(
    store: Store, fill: Callable[..., int], enter: Callable[..., Browser]
):
    """Each statement is a third of a millisecond of the one thread that Python runs at a time."""
    campaign, amina = fill(store, items=9, overlap=2), enter("Amina")
    for number in range(4):
        amina.open(f"/campaigns/{campaign}")
        seen = counted(store) if number == 3 else []
        assert amina.send(act="judge", choice="first").status_code == 200  # and the next task is shown
    begun = [statement for statement in seen if statement.startswith("begin")]
    asked = [statement for statement in seen if not statement.startswith(("begin", "pragma"))]
    assert len(begun) == 4
    assert 15 < len(asked) <= 23, "\n".join(asked)


def test_a_request_names_what_there_is(store: Store, fill: Callable[..., int], enter: Callable[..., Browser]):
    campaign, amina = fill(store), enter("Amina")
    amina.open(f"/campaigns/{campaign}")
    visit = amina.client.cookies["burnish_session"]
    found = named(store, visit, campaign, 1)
    assert found.person
    assert found.campaign
    assert found.task
    assert (found.person.name, found.campaign.id, found.task.annotator) == ("Amina", campaign, found.person.id)
    assert named(store, visit, 99, 99) == named(store, visit, None, None)
    assert named(store, "somebody else's", campaign, 1).campaign is None, "who is not signed in is told nothing"


def test_a_turn_is_what_its_parts_are(store: Store, fill: Callable[..., int]):
    campaign = fill(store)
    with store.transaction() as write:
        who = queries.add_annotator(write, "Amina", "person")
    found = offered(store, campaign, who)
    assert found.task
    assert found.far == how_far(store, campaign, who)
    with store.transaction() as write:
        again = tasks.next_task(write, campaign, who, found.task.shown)
        assert (found.task, found.again) == (again, None)
        tasks.submit(write, task=found.task.id, submission="s", ranks=[1, 2])
    after = offered(store, campaign, who)
    assert (after.far.share.done, after.far.share.left, after.far.share.last) == (1, 2, found.task.id)
    assert after.far.training is None
