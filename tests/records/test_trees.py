"""OpenAssistant's trees, read into rankings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError
from burnish.records.formats import holds_rankings, read_rankings
from burnish.types import Message


def said(text: str, *replies: dict[str, Any], rank: int | None = None, **more: Any) -> dict[str, Any]:
    return {"text": text, "role": "assistant", "rank": rank, "replies": list(replies), **more}


def asked(text: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"text": text, "role": "prompter", "lang": "en", "replies": list(replies), **more}


def written(folder: Path, *prompts: dict[str, Any]) -> Path:
    rows = [{"message_tree_id": f"tree-{n}", "prompt": prompt} for n, prompt in enumerate(prompts)]
    (folder / "trees.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "trees.jsonl"


FOLLOWED = asked("And then?", said("Rest.", rank=1), said("Sleep.", rank=0))
TREE = asked("How?", said("So.", FOLLOWED, rank=2), said("Thus.", rank=0), said("Like this.", rank=1))


def test_every_message_with_ranked_replies_is_a_ranking(tmp_path: Path) -> None:
    path = written(tmp_path, TREE)
    assert holds_rankings(path)
    first, second = read_rankings(path)
    assert first.completions == ("So.", "Thus.", "Like this.")
    assert (first.ranks, first.best) == ((3, 1, 2), "Thus.")
    assert second.prompt.messages == (
        Message(role="user", content="How?"),
        Message(role="assistant", content="So."),
        Message(role="user", content="And then?"),
    )
    assert (second.ranks, second.best) == ((2, 1), "Sleep.")
    assert first.prompt.id == second.prompt.id == "tree-0", "a split by prompt never cuts a tree"
    assert first.prompt.meta == {"lang": "en", "turns": 1, "by_people": True}


def test_deleted_messages_go_with_what_hangs_on_them_and_unranked_ones_alone(tmp_path: Path) -> None:
    tree = asked(
        "How?",
        said("So.", FOLLOWED, rank=0, deleted=True),
        said("Thus.", asked("Why?", said("For.", rank=0), said("Since.", rank=1))),
        said("Like this.", rank=1, synthetic=True),
        said("Or so.", rank=2),
    )
    first, second = read_rankings(written(tmp_path, tree))
    assert (first.completions, first.ranks) == (("Like this.", "Or so."), (2, 3))
    assert first.prompt.meta["by_people"] is False
    assert second.prompt.messages[-1].content == "Why?"


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        (asked("How?", said("So.", rank=0)), "no message of the tree has two ranked replies"),
        ({**TREE, "deleted": True}, "the tree's first message was deleted"),
        (said("So.", asked("How?")), "does not begin with a prompter's message"),
        (asked("How?", said("So.", rank=0), said("Thus.", rank=-1)), "a rank is -1; whole numbers from 0"),
        (asked("How?", said("So.", rank=0), said("Thus.", rank=True)), "a rank is true"),
        (asked("How?", asked("What?")), "a reply to the user's message is the user's too"),
        (asked("How?", said("So.", rank=0, role="system")), 'a message has the role "system"'),
        ({**asked("How?"), "replies": ["So."]}, '"replies" is a list; a list of messages is wanted'),
        (asked("How?", said("So.", rank=0), {**said("", rank=1), "text": None}), '"text" is null'),
    ],
)
def test_an_unfit_tree_is_a_problem_of_its_row(tmp_path: Path, tree: dict[str, Any], found: str) -> None:
    path = written(tmp_path, TREE, tree)
    with pytest.raises(DataError) as caught:
        read_rankings(path)
    [problem] = caught.value.problems
    assert problem.where.startswith(f"{path}:2:")
    assert found in problem.found
    kept, dropped = read_rankings(path, drop_bad=True)
    assert (len(kept), dropped) == (2, [problem])
