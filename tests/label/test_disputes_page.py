"""The pages about items that people judged against each other."""

from __future__ import annotations

from collections.abc import Callable

from burnish.store.session import Store

from .conftest import Browser
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
