"""What a manager sets of a campaign, and what people see of it."""

from __future__ import annotations

from collections.abc import Callable

from burnish.label import service
from burnish.store import queries
from burnish.store.session import Store

from .conftest import Browser

Enter = Callable[..., Browser]
Fill = Callable[..., int]


def test_settings_are_set_and_wrong_ones_are_said(store: Store, enter: Enter, fill: Fill):
    campaign, amina = fill(store), enter("Amina", "manager")
    amina.open(f"/progress/{campaign}/settings")
    answer = amina.send(overlap="0", closed="0", guideline="kept **for you**")
    assert answer.status_code == 422
    assert "From 1 to 100 people" in answer.text
    assert "kept **for you**</textarea>" in answer.text
    assert amina.send(overlap="3", closed="1", guideline="Be *fair*.\r\nAnd <b>kind</b>.").status_code == 200
    assert "Saved." in amina.page.text
    assert "<em>fair</em>" in amina.page.text
    found = service.campaign(store, campaign)
    assert (found.overlap, found.closed, found.guideline_version) == (3, True, 1)
    assert found.guideline == "Be *fair*.\nAnd <b>kind</b>."
    assert '<span class="standing">closed</span>' in amina.open("/progress")


def test_people_have_the_guideline_beside_the_task_and_nothing_of_a_closed_campaign(
    store: Store, enter: Enter, fill: Fill
):
    campaign, bob = fill(store), enter("Bob")
    assert 'id="guideline"' not in bob.open(f"/campaigns/{campaign}")
    (amina,) = [person for person, _ in service.people(store)]
    terms = {"overlap": 1, "guideline": "Be *fair* & <b>kind</b>.", "by": amina}
    service.change_settings(store, campaign, closed=False, **terms)
    page = bob.open(f"/campaigns/{campaign}")
    assert "Be <em>fair</em> &amp; &lt;b&gt;kind&lt;/b&gt;." in page
    service.change_settings(store, campaign, closed=True, **terms)
    assert "Saved" in bob.send(act="judge", choice="first").text, "what was in their hands is taken"
    assert "It is closed for now" in bob.page.text
    assert "Nothing left for you" in bob.open("/")
    with store.reading() as session:
        assert len(queries.judgements(session, campaign)) == 1
