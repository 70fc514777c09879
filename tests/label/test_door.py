"""One-time links, sessions and names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from burnish.errors import StoreError
from burnish.label.door import Door, clean_name


def test_a_link_opens_once_and_the_next_is_announced():
    announced: list[str] = []
    door = Door(announce=announced.append)
    first = door.token
    assert not door.use("wrong")
    assert not announced
    assert door.use(first)
    assert announced == [door.token]
    assert not door.use(first)
    assert door.use(announced[0])


def test_sessions_are_told_apart_and_end():
    door = Door()
    one, other = door.admit(1, "Amina"), door.admit(2, "Bob")
    assert len({one.session, one.csrf, other.session, other.csrf}) == 4
    assert door.visitor(one.session) == one
    door.leave(one)
    assert door.visitor(one.session) is None
    assert door.visitor(other.session) == other
    assert door.visitor(None) is None


def test_a_session_runs_out():
    door = Door()
    old = replace(door.admit(1, "Amina"), until=datetime.now(UTC) - timedelta(seconds=1))
    door._inside[old.session] = old
    assert door.visitor(old.session) is None


def test_names_that_look_alike_are_the_same():
    assert clean_name("  Jose\u0301  Garcia ") == clean_name("Jos\u00e9 Garcia") == "José Garcia"


@pytest.mark.parametrize("name", ["", " \t", "x" * 61, "a\x00b", "a\u202eb"])
def test_names_that_cannot_be(name: str):
    with pytest.raises(StoreError, match="name"):
        clean_name(name)
