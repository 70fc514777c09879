"""What is stated about a reward model, from scores that are made up so that the figures are known."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from burnish.batches import Batch, Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.tiny import write_tiny
from burnish.pipeline.disagreement import FILE, write_disagreement
from burnish.pipeline.probes import PROBES, probe
from burnish.pipeline.probes import liked as liked_for_certain
from burnish.pipeline.ranked import Side
from burnish.pipeline.reward_measures import folds_of
from burnish.pipeline.reward_report import figures
from burnish.pipeline.scored import Scored, dispute
from burnish.types import Message, Prompt, Ranking


def ranking(number: int, completions: Sequence[str] = ("Good.", "Bad."), **meta: object) -> Ranking:
    prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}?"),), meta=meta)
    return Ranking(prompt=prompt, completions=tuple(completions), ranks=tuple(range(1, len(completions) + 1)))


def side(rows: Sequence[Ranking], lengths: Sequence[Sequence[int]] | None = None) -> Side:
    sizes = lengths or [[1] * len(row.completions) for row in rows]
    documents = [
        Document(row=f"{row.prompt.id}#{n}", ids=[1], branches=[[2] * size for size in of_row])
        for n, (row, of_row) in enumerate(zip(rows, sizes, strict=True))
    ]
    return Side(documents=documents, rows=list(rows))


def single(rows: Side, scores: Sequence[Sequence[float]], std: float = 1.0) -> Scored:
    return Scored(side=rows, members=[[list(each)] for each in scores], stds=[std])


def test_chances_are_those_of_the_models_own_scores() -> None:
    found, prompts = single(side([ranking(0)]), [[1.0, -0.5]], std=2.0).log_odds()
    assert (found, prompts) == ([pytest.approx(3.0)], ["p0"])


def test_an_ensembles_chance_is_the_mean_of_its_members() -> None:
    """One member says ½, the other ¾."""
    both = [[0.0, 0.0], [math.log(3) / 2, 0.0]]
    scored = Scored(side=side([ranking(0)]), members=[both], stds=[1.0, 2.0])
    assert scored.log_odds()[0] == [pytest.approx(math.log(0.625 / 0.375))]
    assert scored.spreads() == [[pytest.approx(0.125)]]
    assert dispute(both, [1.0, 2.0]) == pytest.approx(0.125)


def test_the_turns_of_a_conversation_are_one_unit() -> None:
    """Four conversations of three turns: in one fold each, and four units behind the accuracy, not twelve."""
    talks = side([ranking(n, conversation=f"talk {n // 3}") for n in range(12)])
    scored = single(talks, [[1.0, 0.0]] * 12)
    assert len(scored.hits(talks.ordered())) == 4
    assert scored.log_odds()[1] == [f"talk {n // 3}" for n in range(12)]
    assert folds_of(talks.units, folds=3, seed=1).keys() == {f"talk {n}" for n in range(4)}


def test_a_dispute_is_the_mean_over_all_pairs() -> None:
    """Of three answers the members differ on the first against either of the others, and not on those."""
    members = [[0.0, 0.0, 0.0], [math.log(3), 0.0, 0.0]]
    assert dispute(members, [1.0, 1.0]) == pytest.approx(2 / 3 * 0.125)


def test_accuracy_by_column_and_by_which_answer_is_longer() -> None:
    """Right on every English row and wrong on every German one; the preferred answer is longer in the even rows."""
    rows = [ranking(n, lang=("en", "de")[n // 10], urgent=n % 4 == 0, text=f"free {n}") for n in range(20)]
    lengths = [[4, 2] if n % 2 == 0 else [2, 4] for n in range(20)]
    scores = [[1.0, 0.0] if n < 10 else [0.0, 1.0] for n in range(20)]
    found = figures(single(side(rows, lengths), scores), {})
    assert found["accuracy"]["value"] == 0.5
    sliced = {(each["column"], each["value"]): each["accuracy"]["value"] for each in found["slices"]}
    assert sliced == {
        ("lang", "de"): 0.0,
        ("lang", "en"): 1.0,
        ("urgent", "no"): pytest.approx(7 / 15),
        ("urgent", "yes"): pytest.approx(3 / 5),
        ("preferred answer is", "longer"): 0.5,
        ("preferred answer is", "shorter"): 0.5,
    }
    assert found["undisputed"] is None
    assert found["annotators"] == []
    assert found["calibration"]["temperature"]["value"] == pytest.approx(20.0)


def test_slices_show_a_model_that_scores_length() -> None:
    rows, lengths = [ranking(n) for n in range(30)], [[(9, 3), (5, 5), (2, 8)][n % 3] for n in range(30)]
    found = figures(single(side(rows, lengths), [[float(a), float(b)] for a, b in lengths]), {})
    assert {each["value"]: each["accuracy"]["value"] for each in found["slices"]} == {
        "longer": 1.0,
        "of like length": 0.5,
        "shorter": 0.0,
    }


def test_agreement_with_each_annotator_stands_beside_that_of_the_others() -> None:
    """Ana ranks as the model does; bo the other way round on half of the prompts; cy judged two prompts only."""
    rows = [ranking(n) for n in range(8)]
    said = {
        row.prompt.id: [("ana", (1, 2)), ("bo", (1, 2) if n % 2 else (2, 1)), *([("cy", (1, 2))] if n < 2 else [])]
        for n, row in enumerate(rows)
    }
    found = figures(single(side(rows), [[1.0, 0.0]] * 8), said)
    told = {e["annotator"]: (e["model"]["value"], e["others"]["value"]) for e in found["annotators"]}
    assert told == {"ana": (1.0, pytest.approx(6 / 10)), "bo": (0.5, pytest.approx(5 / 10))}
    assert found["undisputed"]["value"] == 1.0
    assert found["undisputed"]["n"] == 4


def test_an_ensemble_is_sliced_by_how_far_its_members_agree() -> None:
    """The members are right where they agree, and wrong where they do not."""
    members = [[[2.0, 0.0], [2.0, 0.0]]] * 10 + [[[1.0, 0.0], [2.0, 0.0]]] * 10 + [[[-3.0, 0.0], [1.0, 0.0]]] * 10
    scored = Scored(side=side([ranking(n) for n in range(30)]), members=members, stds=[1.0, 1.0])
    found = {e["value"]: e["accuracy"]["value"] for e in figures(scored, {})["slices"] if e["column"] == "members"}
    assert found == {"agree most": 1.0, "lie between": 1.0, "agree least": 0.0}


def test_the_most_disputed_ranking_is_named_first(tmp_path: Path) -> None:
    learned = Scored(side=side([ranking(0)]), members=[[[1.0, 0.0], [1.0, 0.0]]], stds=[1.0, 1.0])
    heldout = Scored(
        side=side([ranking(1), ranking(2)]),
        members=[[[1.0, 0.0], [0.5, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]],
        stds=[1.0, 1.0],
    )
    write_disagreement(tmp_path, learned, heldout)
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [(row["prompt_id"], row["held_out"]) for row in rows] == [("p2", True), ("p1", True), ("p0", False)]
    assert rows[-1]["disagreement"] == 0.0


class Lengths:
    """Scores an answer by its tokens."""

    def scores(self, batch: Batch) -> Tensor:
        return torch.bincount(batch.answer_N, minlength=batch.last_B.numel()).float()


class Blind:
    """Scores every answer alike."""

    def scores(self, batch: Batch) -> Tensor:
        return torch.zeros(batch.last_B.numel())


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(Tokenizer.load(write_tiny(tmp_path_factory.mktemp("probes") / "tiny")))


def test_probes_show_what_a_scorer_likes(renderer: Renderer) -> None:
    """The format probe leaves out answers of one sentence and of several lines."""
    answers = ["One. Two.", "One alone.", "First\nsecond. Third."]
    rows = [ranking(n, (answers[n % 3], "Bad.")) for n in range(18)]
    liked = probe(Lengths(), renderer, rows, unit=10.0, max_length=2000, micro_tokens=4000)
    assert [each["probe"] for each in liked] == list(PROBES)
    assert all(each["difference"]["value"] > 0 and each["preferred"]["value"] == 1.0 for each in liked)
    assert liked_for_certain(liked) == ["length", "flattery", "repetition"], "six answers are too few for the rest"
    by_name = {each["probe"]: each for each in liked}
    assert by_name["format"]["difference"]["n"] == 6
    assert by_name["format"]["difference"]["value"] == pytest.approx(4 / 10), "two bullets of two bytes"
    blind = probe(Blind(), renderer, rows, unit=1.0, max_length=2000, micro_tokens=4000)
    assert all(each["difference"]["value"] == 0.0 and each["preferred"]["value"] == 0.5 for each in blind)
    assert liked_for_certain(blind) is None


def test_what_is_too_long_is_not_probed_and_too_few_give_no_figure(renderer: Renderer) -> None:
    rows = [ranking(n, ("A. B.", "Bad.")) for n in range(6)]
    assert probe(Lengths(), renderer, rows[:4], unit=1.0, max_length=2000, micro_tokens=4000) == []
    short = probe(Lengths(), renderer, rows, unit=1.0, max_length=60, micro_tokens=4000)
    assert {each["probe"] for each in short} == {"format", "repetition"}
