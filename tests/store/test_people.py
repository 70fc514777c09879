"""Accounts, on both kinds of database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from burnish.errors import StoreError
from burnish.records.languages import language
from burnish.store import events, people, queries, tasks
from burnish.store.languages import languages
from burnish.store.schema import EventRow
from burnish.store.session import Store
from burnish.store.views import Annotator, Role
from burnish.types import Message, Prompt

Fill = Callable[..., int]


def join(store: Store, name: str, role: Role = "annotator", reads: tuple[str, ...] = ()) -> Annotator:
    with store.transaction() as write:
        link = people.invite(write, role, languages=reads)
        return queries.annotator(write, people.accept(write, link, name, "hash"))


def judge(store: Store, campaign: int, who: Annotator) -> str | None:
    """The id of what they said of the next item."""
    with store.transaction() as write:
        task = tasks.next_task(write, campaign, who.id)
        if task is None:
            return None
        ranks = list(range(1, len(task.answers) + 1))
        return tasks.submit(write, task=task.id, submission=f"{who.id}-{task.id}", ranks=ranks).id


def test_a_link_works_once_and_for_a_week(store: Store):
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    with store.transaction() as write:
        link, late = people.invite(write, "viewer", now=noon), people.invite(write, "viewer", now=noon)
        assert people.invitation(write, link, noon) == people.Invitation(role="viewer", languages=(), name=None)
        people.accept(write, link, "Amina", "hash", noon)
        assert people.invitation(write, link, noon) is None
        for used, name, now in ((link, "Bob", noon), (late, "Bob", noon + timedelta(days=8))):
            with pytest.raises(StoreError, match="was used already"):
                people.accept(write, used, name, "hash", now)


def lives(session: Session, *links: str) -> list[bool]:
    return [people.invitation(session, link) is not None for link in links]


def test_a_link_for_someone_who_is_here_ends_with_the_role_they_had(store: Store):
    owner, manager, anna = join(store, "Olga", "owner"), join(store, "Mona", "manager"), join(store, "Anna")
    with store.transaction() as write:
        link = people.invite_again(write, anna.id, by=manager)
        people.set_role(write, anna.id, "owner", by=owner)
        with pytest.raises(StoreError, match="was used already"):
            people.accept(write, link, "", "a manager's password")
        assert people.password_of(write, "Anna") == (anna.id, "hash")


def test_a_new_password_ends_the_other_links_that_give_one(store: Store):
    anna, bob = join(store, "Anna"), join(store, "Bob")
    with store.transaction() as write:
        first, second, his = (people.invite_again(write, who.id) for who in (anna, anna, bob))
        people.accept(write, second, "", "new")
        assert lives(write, first, second, his) == [False, False, True]


def test_a_link_ends_when_who_made_it_could_not_make_it_now(store: Store):
    owner = join(store, "Olga", "owner")
    for act, left in (
        (lambda write, who: people.set_role(write, who, "manager", by=owner), [False, True, True, True]),
        (lambda write, who: people.set_role(write, who, "viewer", by=owner), [False, False, True, True]),
        (lambda write, who: people.set_standing(write, who, "held", by=owner), [False, False, True, True]),
        (lambda write, who: people.remove(write, who, by=owner), [False, False, True, True]),
    ):
        otto = join(store, f"Otto {left} {act}", "owner")
        with store.transaction() as write:
            made = [people.invite(write, role, by=by) for role in ("owner", "viewer") for by in (otto, owner)]
            links = [made[0], made[2], made[1], made[3]]
            act(write, otto.id)
            assert lives(write, *links) == left


def test_links_for_a_first_owner_end_with_the_next_one(store: Store):
    with store.transaction() as write:
        first, other, guest = (
            people.invite_first_owner(write),
            people.invite(write, "owner"),
            people.invite(write, "viewer"),
        )
        second = people.invite_first_owner(write)
        assert first
        assert second
        assert lives(write, first, other, guest, second) == [False, False, True, True]
        people.accept(write, second, "Olga", "hash")
        another = people.invite(write, "owner")
        assert people.invite_first_owner(write) is None
        assert lives(write, another) == [True]


def test_a_link_is_logged_with_the_role_that_it_opens(store: Store):
    owner = join(store, "Olga", "owner")
    with store.transaction() as write:
        people.invite_again(write, owner.id, by=owner)
        actor, target, payload = write.execute(
            select(EventRow.actor, EventRow.target, EventRow.payload).order_by(EventRow.seq.desc())
        ).first()
    assert (actor, target, payload) == (owner.handle, owner.handle, {"role": "owner", "languages": []})


def test_what_somebody_may_do_is_asked_when_they_do_it(store: Store):
    """Their page may have been opened before they were held or given another role."""
    owner, amina = join(store, "Olga", "owner"), join(store, "Amina")
    mona, max_ = join(store, "Mona", "manager"), join(store, "Max", "manager")
    with store.transaction() as write:
        people.set_role(write, mona.id, "viewer", by=owner)
        people.set_standing(write, max_.id, "held", by=owner)
        for by in (mona, max_):
            with pytest.raises(StoreError, match="not on hold"):
                people.set_standing(write, amina.id, "held", by=by)


def test_who_came_before_there_were_handles_leaves_no_name_behind(store: Store, fill: Fill):
    campaign, owner = fill(store, items=1), join(store, "Olga", "owner")
    with store.transaction() as write:
        amina = queries.annotator(write, queries.add_annotator(write, "Amina", "person"))
    said = judge(store, campaign, amina)
    with store.transaction() as write:
        people.remove(write, amina.id, by=owner)
    with store.reading() as read:
        gone = queries.annotator(read, amina.id)
        assert gone.name == f"removed {amina.id}"
        assert gone.handle.startswith("p-")
        assert [(each.id, each.annotator) for each in queries.judgements(read, campaign)] == [(said, gone.handle)]
        last = read.scalars(select(EventRow).order_by(EventRow.seq.desc()).limit(1)).one()
        assert (last.verb, last.target) == ("person.remove", gone.handle)
        assert events.verify_log(read)


def test_nobody_takes_the_name_of_someone_who_will_be_removed(store: Store):
    with pytest.raises(StoreError, match="is somebody here already"):
        join(store, "removed 1")


def test_names_stand_in_one_table_alone(store: Store, fill: Fill):
    """The audit log and what a snapshot is made of know the handle."""
    campaign, amina = fill(store, items=1), join(store, "Amina")
    judge(store, campaign, amina)
    with store.reading() as read:
        (said,) = queries.judgements(read, campaign)
        assert said.annotator == amina.handle != "Amina"
        log = read.execute(text("select actor, target, payload from event")).all()
    assert "Amina" not in str(log)


def test_who_is_removed_keeps_their_judgements_and_the_log_stays_whole(store: Store, fill: Fill):
    campaign, owner, amina = fill(store, items=2), join(store, "Olga", "owner"), join(store, "Amina", reads=("fr",))
    said = judge(store, campaign, amina)
    with store.transaction() as write:
        cookie = people.enter(write, amina.id)
        people.remove(write, amina.id, by=owner)
    with store.reading() as read:
        gone = queries.annotator(read, amina.id)
        assert (gone.name, gone.handle, gone.removed) == (f"removed {amina.id}", amina.handle, True)
        assert gone.languages == ()
        assert people.password_of(read, gone.name) is None
        assert people.visitor(read, cookie) is None
        assert [each.id for each in queries.judgements(read, campaign)] == [said]
        assert events.verify_log(read)
    assert judge(store, campaign, gone) is None
    with pytest.raises(StoreError, match="was removed"), store.transaction() as write:
        people.set_standing(write, amina.id, "active", by=owner)
    assert join(store, "Amina").id != amina.id  # the name is free again


def test_withdrawn_work_counts_nowhere_until_it_is_taken_back(store: Store, fill: Fill):
    campaign, amina, bob = fill(store, items=1, overlap=1), join(store, "Amina"), join(store, "Bob")
    said = judge(store, campaign, amina)
    assert judge(store, campaign, bob) is None

    def stand(standing: str) -> list[str]:
        with store.transaction() as write:
            people.set_standing(write, amina.id, standing)
        with store.reading() as read:
            counts = queries.progress(read, campaign)
            found = [each.id for each in queries.judgements(read, campaign)]
            assert counts.judged == len(found) == sum(counts.by_annotator.values())
            return found

    assert stand("held") == [said]
    assert stand("withdrawn") == []
    instead = judge(store, campaign, bob)
    assert sorted(stand("active")) == sorted([said, instead])


def test_who_is_held_is_given_nothing_and_nothing_is_taken(store: Store, fill: Fill):
    campaign, amina = fill(store), join(store, "Amina")
    with store.transaction() as write:
        task = tasks.next_task(write, campaign, amina.id)
        assert task
        people.set_standing(write, amina.id, "held")
    assert judge(store, campaign, amina) is None
    with pytest.raises(StoreError, match="on hold"), store.transaction() as write:
        tasks.submit(write, task=task.id, submission="s", ranks=[1, 2, 3, 4])


def test_items_go_to_people_who_read_their_language(store: Store):
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="pairwise", overlap=1)
        for tag in ("fr-CA", "ar", None):
            prompt = Prompt(
                id=str(tag), messages=(Message(role="user", content="?"),), meta={"language": tag} if tag else {}
            )
            queries.add_item(write, campaign, prompt, [("a", "m"), ("b", "m")])
    french, anyone = join(store, "Amina", reads=("fr",)), join(store, "Bob")
    with store.reading() as read:
        assert [tasks.share(read, campaign, who.id).left for who in (french, anyone)] == [2, 3]
    done = [judge(store, campaign, french) for _ in range(3)]
    assert [bool(each) for each in done] == [True, True, False]
    with store.reading() as read:
        assert {said.prompt_id for said in queries.judgements(read, campaign)} == {"fr-CA", "None"}
    assert judge(store, campaign, anyone)


def test_a_manager_has_no_power_over_owners_and_managers(store: Store):
    owner, manager, other = join(store, "Olga", "owner"), join(store, "Mona", "manager"), join(store, "Max", "manager")
    annotator = join(store, "Amina")
    with store.transaction() as write:
        for act in (
            lambda: people.invite(write, "manager", by=manager),
            lambda: people.invite_again(write, owner.id, by=manager),
            lambda: people.set_role(write, annotator.id, "owner", by=manager),
            lambda: people.set_role(write, other.id, "viewer", by=manager),
            lambda: people.set_standing(write, other.id, "held", by=manager),
            lambda: people.remove(write, owner.id, by=manager),
        ):
            with pytest.raises(StoreError, match="only an owner"):
                act()
        people.set_role(write, annotator.id, "adjudicator", by=manager)
        people.remove(write, other.id, by=owner)


def test_the_last_owner_stays(store: Store):
    owner = join(store, "Olga", "owner")
    with store.transaction() as write:
        for act in (
            lambda: people.set_role(write, owner.id, "viewer", by=owner),
            lambda: people.set_standing(write, owner.id, "held", by=owner),
            lambda: people.remove(write, owner.id, by=owner),
        ):
            with pytest.raises(StoreError, match="the last owner"):
                act()
    second = join(store, "Otto", "owner")
    with store.transaction() as write:
        people.remove(write, owner.id, by=second)
        assert people.invite_first_owner(write) is None


def test_tags_of_languages():
    assert [language(text) for text in ("fr", "FR-ca", "zh_Hans", "english", "", "e")] == ["fr", "fr", "zh"] + [
        None
    ] * 3
    assert languages(" fr-CA, ar;fr ") == ["ar", "fr"]
    assert languages("") == []
    with pytest.raises(StoreError, match="“Klingon”"):
        languages("fr, Klingon")
