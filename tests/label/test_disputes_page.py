"""The pages about items that people judged against each other."""

from __future__ import annotations

import re
from collections.abc import Callable

from burnish.label import service
from burnish.store.session import Store

from .conftest import HIDDEN, Browser
from .test_overview import judged

Enter = Callable[..., Browser]


def test_an_adjudicator_reads_what_each_said_and_by_which_model_nobody(store: Store, enter: Enter):
    campaign = judged(store, {"Amina": [(1, 2), (1, 2), (1, 2)], "Bob": [(2, 1), (1, 2), (1, 1)]})
    page = enter("Judy", "adjudicator").open(f"/campaigns/{campaign}/disagreements")
    assert "p000" in page
    assert "p001" not in page
    assert "p002" not in page  # a tie contradicts nobody
    assert page.count('<tr><th scope="row">') == 2
    assert "100 %" in page
    assert "secret" not in page


def test_many_come_in_pages(store: Store, enter: Enter):
    campaign = judged(store, {"Amina": [(1, 2)] * 12, "Bob": [(2, 1)] * 12})
    manager = enter("Mona", "manager")
    page = manager.open(f"/campaigns/{campaign}/disagreements")
    assert (page.count("<article"), "Page 1 of 2; 12 items" in page) == (10, True)
    page = manager.open(f"/campaigns/{campaign}/disagreements?page=2")
    assert (page.count("<article"), "?page=1" in page, "?page=3" in page) == (2, True, False)
    assert "There are no more" in manager.open(f"/campaigns/{campaign}/disagreements?page=999999")
    assert f"/campaigns/{campaign}/disagreements" in manager.open("/progress")
    for wrong in ("0", "-1", "x", str(10**30)):
        assert manager.client.get(f"/campaigns/{campaign}/disagreements?page={wrong}").status_code == 404


def settled_by(browser: Browser, address: str, best: str, **fields: str) -> int:
    """Put the answer of this text first, the other second."""
    page = browser.open(address)
    first = page.index(f">{best}<") < page.index(">answer 1<" if best == "answer 0" else ">answer 0<")
    places = {"rank-1": "1", "rank-2": "2"} if first else {"rank-1": "2", "rank-2": "1"}
    hidden = dict(HIDDEN.findall(page))
    browser.page = browser.client.post(address, data={**hidden, **places, **fields})
    return browser.page.status_code


def test_an_adjudicator_settles_an_item_and_decides_again(store: Store, enter: Enter):
    campaign = judged(store, {"Amina": [(1, 2)], "Bob": [(2, 1)]})
    judge, other = enter("Judy", "adjudicator"), enter("Mona", "manager")
    address = re.findall(
        r'href="(/campaigns/\d+/disagreements/\d+)"', judge.open(f"/campaigns/{campaign}/disagreements")
    )[0]
    stale = other.open(address)
    assert settled_by(judge, address, "answer 1", note="<b>Shorter</b> & right") == 200
    page = judge.page.text
    assert "all is settled" in page
    assert "&lt;b&gt;Shorter&lt;/b&gt; &amp; right" in page
    (settled,) = service.settled(store, campaign)
    assert settled.ranks == (2, 1)
    late = other.client.post(address, data={**dict(HIDDEN.findall(stale)), "rank-1": "1", "rank-2": "1"})
    assert (late.status_code, "by somebody else" in late.text) == (422, True)
    assert settled_by(other, address, "answer 0") == 200
    assert service.settled(store, campaign)[0].ranks == (1, 2)


def test_what_is_unfinished_or_not_theirs_is_said(store: Store, enter: Enter, fill: Callable[..., int]):
    campaign = fill(store, items=1, overlap=2)
    judge, manager = enter("Judy", "adjudicator"), enter("Mona", "manager")
    for browser, choice in ((judge, "first"), (manager, "tie")):
        browser.open(f"/campaigns/{campaign}")
        browser.send(act="judge", choice=choice)
    address = f"/campaigns/{campaign}/disagreements/1"
    page = judge.open(address)
    assert "You judged this item yourself" in page
    assert "<select" not in page.partition("<footer>")[0]
    hidden = dict(HIDDEN.findall(page)) | {"submission": "s"}
    refused = judge.client.post(address, data={**hidden, "rank-1": "1", "rank-2": "2"})
    assert (refused.status_code, "judged by you" in refused.text) == (422, True)
    neutral = enter("Olga", "owner")
    neutral.open(address)
    unfinished = neutral.client.post(address, data={**dict(HIDDEN.findall(neutral.page.text)), "rank-1": "1"})
    assert (unfinished.status_code, "Give a place to answer 2." in unfinished.text) == (422, True)
    assert service.settled(store, campaign) == []
    for wrong in ("2", "99", "0", "x"):
        assert neutral.client.get(f"/campaigns/{campaign}/disagreements/{wrong}").status_code == 404


def test_a_single_answer_is_settled_by_a_word(store: Store, enter: Enter, fill: Callable[..., int]):
    campaign = fill(store, k=1, items=2, overlap=2, kind="good_bad")
    for name, choices in (("Amina", ("good", "good")), ("Bob", ("bad", "good"))):
        browser = enter(name)
        for choice in choices:
            browser.open(f"/campaigns/{campaign}")
            browser.send(act="judge", choice=choice)
    judge = enter("Judy", "adjudicator")
    page = judge.open(f"/campaigns/{campaign}/disagreements")
    assert ("p0" in page, "p1" in page) == (True, False)
    assert (page.count(">Good</td>"), page.count(">Bad</td>")) == (1, 1)
    assert "1 is the best place" not in page
    address = re.findall(rf'href="(/campaigns/{campaign}/disagreements/\d+)"', page)[0]
    assert "<select" not in judge.open(address).partition("<footer>")[0]
    hidden = dict(HIDDEN.findall(judge.page.text if judge.page else ""))
    for wrong in ({}, {"choice": "tie"}, {"rank-1": "1"}):
        refused = judge.client.post(address, data={**hidden, **wrong})
        assert (refused.status_code, "Choose whether the answer is good or bad." in refused.text) == (422, True)
    judge.client.post(address, data={**hidden, "choice": "bad", "note": "It is wrong."})
    (settled,) = service.settled(store, campaign)
    assert (settled.ranks, settled.note) == ((2, 1), "It is wrong.")
    page = judge.open(address)
    assert re.search(r'value="bad"[^>]* checked', page)
    assert ": Bad. It is wrong." in page
    assert "all is settled" in judge.open(f"/campaigns/{campaign}/disagreements")
