"""Single answers that some call good and others bad: disagreement about them is counted too, which 0005 left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

SAID = """
select said.item_id, said.details from judgement said join annotator who on who.id = said.annotator_id
join item on item.id = said.item_id join campaign on campaign.id = item.campaign_id
where said.item_id > :above and said.item_id <= :upto and campaign.kind = 'good_bad' and item.gold is null
and said.ranks is not null and who.standing <> 'withdrawn' and who.counts
and not exists (select 1 from judgement later where later.supersedes = said.id)
"""
AT_ONCE = 5000
"""Items whose judgements are read at once."""


def upgrade() -> None:
    for above, upto in _stretches():
        said = op.get_bind().execute(sa.text(SAID), {"above": above, "upto": upto})
        words = Counter((item, _good(details)) for item, details in said)
        items = {item for item, _ in words}
        found = [_share(item, words[item, True], words[item, False]) for item in sorted(items)]
        if at_odds := [each for each in found if each["share"]]:
            op.get_bind().execute(sa.text("update item set opposed = :share where id = :item"), at_odds)


def _stretches() -> Iterator[tuple[int, int]]:
    last = op.get_bind().scalar(sa.text("select max(id) from item")) or 0
    for above in range(0, last, AT_ONCE):
        yield above, above + AT_ONCE


def _good(details: str | dict[str, bool]) -> bool:
    """JSON: text in SQLite, read by PostgreSQL's driver."""
    found = json.loads(details) if isinstance(details, str) else details
    return found["good"]


def _share(item: int, good: int, bad: int) -> dict[str, float]:
    """Of all two people, how many contradict each other."""
    people = good + bad
    return {"item": item, "share": good * bad / max(1, people * (people - 1) / 2)}
