"""What one person is given of what is kept about them: everything, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.errors import StoreError
from burnish.store import people, tasks
from burnish.store.person import about
from burnish.store.queries import texts
from burnish.store.session import Store


@pytest.fixture
def amina(store: Store, fill: Callable[..., int]) -> int:
    campaign = fill(store, items=2, k=3)
    with store.transaction() as write:
        who = people.accept(write, people.invite(write, "annotator", languages=["fr"]), "Amina", "$argon2id$canary")
        other = people.accept(write, people.invite(write, "annotator"), "Bob", "$argon2id$other")
        people.enter(write, who)
        for person in (who, other):
            task = tasks.next_task(write, campaign, person, prompt_id="p0")
            assert task
            tasks.submit(write, task=task.id, submission=f"first {person}", ranks=[2, 1, 3])
        mine = tasks.next_task(write, campaign, who, prompt_id="p1")
        assert mine
        tasks.submit(write, task=mine.id, submission="skip", skip="unsure")
        tasks.submit(write, task=mine.id, submission="then", ranks=[1, 1, 2], revise=True)
    return who


def test_everything_that_was_said_and_shown_is_there(store: Store, amina: int):
    with store.reading() as read:
        found = about(read, "Amina")
        assert found == about(read, found["account"]["handle"])
        own = texts(read, 1)
    assert found["account"]["languages"] == ["fr"]
    assert found["account"]["has_password"] is True
    assert len(found["signed_in_until"]) == 1
    first, second = found["tasks"]
    assert sorted(first["answers_as_shown"]) == sorted(own)
    assert first["judgements"][0]["ranks"] == [2, 1, 3], "as they gave them, in the order that they were shown"
    assert [(said["skip"], said["ranks"]) for said in second["judgements"]] == [("unsure", None), (None, [1, 1, 2])]
    assert {line["verb"] for line in found["log"]} == {"person.join", "judgement.add"}


def test_neither_password_nor_others_are_in_it(store: Store, amina: int):
    with store.reading() as read:
        text = str(about(read, "Amina"))
        handle = about(read, "Bob")["account"]["handle"]
    assert "argon2" not in text
    assert handle not in text


def test_nobody_of_the_name(store: Store, amina: int):
    with store.reading() as read, pytest.raises(StoreError, match="nobody of this name"):
        about(read, "Amine")
