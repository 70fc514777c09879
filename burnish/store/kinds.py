"""The kinds of campaign, one table: how many answers an item has, how a form says what a person thinks and is filled
in again, how that becomes ranks, and what a snapshot's row says. Pure; knows no database and no page.

Ranks are one for each answer: 1 is best, equal numbers are a tie. Between form and store they are in the shown order,
in a snapshot in the answers' own one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from burnish.errors import DataError, Problem, Said, StoreError
from burnish.store.details import FLAGS, LIKERT, LONGEST_EDIT, LONGEST_RATIONALE, ORDER_ONLY, STRENGTHS, Asks, Details
from burnish.store.ranks import agreed, compared, dense, in_order
from burnish.store.views import CampaignKind

Form = Mapping[str, str]
Ranks = tuple[int, ...]
ALWAYS = frozenset({"flags", "rationale", "edits"})
"""What a judgement of any kind may say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is particular to a kind of campaign."""

    fewest: int
    most: int
    """Answers of an item. Nine at most, because one digit key ranks an answer."""
    says: frozenset[str] = frozenset()
    """Which of the details are its own."""
    asks: frozenset[str] = frozenset()
    """Which of the things that a campaign may ask are its own."""
    read: Callable[[Form, int, Asks], tuple[Ranks | None, Details]]
    """What a form with so many answers says: ranks where they are given, else what they follow from. Raises DataError
    for a form that is not filled in."""
    fill: Callable[[Ranks, Details, Asks], dict[str, str]]
    """The fields of a form that says this: the inverse of `read`."""
    ranks: Callable[[Ranks | None, Details, Asks, int], Ranks]
    """The ranks, given or following from what was said of so many answers. Raises StoreError for what cannot be."""
    row: Callable[[Sequence[str], Sequence[Ranks], Sequence[Details], Asks], dict[str, Any] | None]
    """The columns of a snapshot's row from an item's answers and what each annotator said; None to leave it out."""
    decide: Callable[[Form, int], Ranks]
    """The order that a form settles an item of so many answers with. Raises DataError as `read` does."""
    decided: Callable[[Ranks], dict[str, str]]
    """The fields of a form that settles it so: the inverse of `decide`."""
    settle: Callable[[Sequence[str], Mapping[str, Any], Ranks], dict[str, Any]]
    """The columns of a snapshot's row once an order has settled it; before that they were these, or none."""
    rule: str = "mean-rank"
    """How several annotators are agreed. mean-rank: answers by the mean of their mid-ranks. majority: as most say."""
    ties: str = "kept"
    """kept: answers of exactly equal mean rank share a rank. left out: the item has no row."""
    holds: Literal["rankings", "labels"] = "rankings"
    """What the rows of a snapshot are."""
    question: str = "Which answer is better?"
    """What people are asked where nobody says otherwise."""

    @property
    def takes(self) -> str:
        """How many answers, in words."""
        return f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"

    def places(self, order: Sequence[int]) -> list[int]:
        """The positions that are ranked where answers are shown in this order: behind the only one that is called good
        or bad comes what would be just good enough (`store.ranks.compared`)."""
        return [*order, len(order)] if self.holds == "labels" else list(order)


def kind_of(answers: Iterable[int]) -> CampaignKind:
    """The kind where nobody names one, from how many answers each item has: good_bad where there is one throughout,
    pairwise where there are two."""
    counts = set(answers)
    if counts == {1}:
        return "good_bad"
    return "pairwise" if counts <= {2} else "ranking"


def check_asks(kind: CampaignKind, asks: Asks) -> None:
    """Raises StoreError for what a campaign of this kind cannot ask, or must."""
    own = {name for each in KINDS.values() for name in each.asks} - KINDS[kind].asks
    if strange := sorted(own & asks.as_json().keys()):
        raise StoreError(Problem(strange[0], f"is nothing that a campaign of the kind {kind} asks"))
    if kind == "scale" and not asks.axes:
        raise StoreError(Problem("axes", "are missing: a scale has one axis or more", "For example: helpful, honest."))
    if any(not axis.strip() or len(axis) > 60 for axis in asks.axes) or len(set(asks.axes)) < len(asks.axes):
        raise StoreError(Problem("axes", "have names of 1 to 60 characters, each its own"))


def settled(kind: CampaignKind, asks: Asks, answers: int, ranks: Sequence[int] | None, details: Details) -> Ranks:
    """The ranks of a judgement, once all that it says was checked. StoreError for what the campaign cannot take."""
    known = KINDS[kind]
    if strange := sorted(details.said - known.says - ALWAYS):
        raise StoreError(Problem(strange[0], f"is nothing that a judgement of the kind {kind} can say"))
    _check_flags(details, answers)
    _check_texts(details, asks, answers)
    return known.ranks(None if ranks is None else tuple(ranks), details, asks, answers)


def _check_flags(details: Details, answers: int) -> None:
    if details.flags and len(details.flags) != answers:
        raise StoreError(Problem("flags", f"lists for {len(details.flags)} answers, of {answers}"))
    for flags in details.flags:
        if strange := sorted(set(flags) - set(FLAGS)):
            raise StoreError(Problem("flags", f'"{strange[0]}" is no flag', f"Known here: {', '.join(FLAGS)}."))
        if list(flags) != sorted(set(flags)) or sum(flag.startswith("harmful:") for flag in flags) > 1:
            raise StoreError(Problem("flags", "must be sorted, each once, and harmful in one way at most"))


def _check_texts(details: Details, asks: Asks, answers: int) -> None:
    if len(details.rationale) > LONGEST_RATIONALE:
        found = f"has {len(details.rationale):,} characters, and {LONGEST_RATIONALE:,} are kept"
        raise StoreError(Problem("rationale", found, "Say it more briefly."))
    if asks.rationale and not details.rationale.strip():
        raise StoreError(Problem("rationale", "is missing, and this campaign asks why"))
    if details.edits and not asks.edits:
        raise StoreError(Problem("edits", "were made, and this campaign does not ask for any"))
    if details.edits and len(details.edits) != answers:
        raise StoreError(Problem("edits", f"of {len(details.edits)} answers, of {answers}"))
    if any(text is not None and not 1 <= len(text.strip()) <= LONGEST_EDIT for text in details.edits):
        raise StoreError(Problem("edits", f"a better answer has 1 to {LONGEST_EDIT:,} characters"))


def _choices(strengths: Sequence[int | None]) -> dict[str, tuple[Ranks, Details]]:
    """What each choice between two answers means."""
    sides = {"first": (1, 2), "second": (2, 1)}
    found = {
        side if strength is None else f"{side}-{strength}": (ranks, Details(strength=strength))
        for side, ranks in sides.items()
        for strength in strengths
    }
    return {**found, "tie": ((1, 1), Details()), "both_bad": ((1, 1), Details(both_bad=True))}


PLAIN, STRONG = _choices([None]), _choices(list(STRENGTHS))


def _read_pair(form: Form, answers: int, asks: Asks) -> tuple[Ranks, Details]:
    found = (STRONG if asks.strength else PLAIN).get(form.get("choice", ""))
    if found is None:
        raise DataError(Problem("choice", "choose an answer, or that they are equally good or bad"))
    return found


def _fill_pair(ranks: Ranks, details: Details, asks: Asks) -> dict[str, str]:
    said = (details.strength, details.both_bad)
    found = (STRONG | PLAIN).items()
    return {"choice": next(choice for choice, (r, d) in found if (r, (d.strength, d.both_bad)) == (ranks, said))}


def _pair_ranks(ranks: Ranks | None, details: Details, asks: Asks, answers: int) -> Ranks:
    ranks = dense(_given(ranks))
    tie = len(set(ranks)) == 1
    if details.both_bad and not tie:
        raise StoreError(Problem("both_bad", "one answer is better, so that they are not both bad"))
    if tie or not asks.strength:
        if details.strength is not None:
            raise StoreError(Problem("strength", "is said of the better of two answers, where a campaign asks for it"))
    elif details.strength not in STRENGTHS:
        found = f"how far the better answer is ahead is one of {', '.join(map(str, STRENGTHS))}, not {details.strength}"
        raise StoreError(Problem("strength", found))
    return ranks


def _pair_row(answers: Sequence[str], votes: Sequence[Ranks], said: Sequence[Details], asks: Asks) -> dict[str, Any]:
    """The strength of an answer is the mean of how far people called it ahead. So the difference of two is the mean
    with its sign, and below 0 where few were sure enough to outweigh the many."""
    found = _ranked_row(answers, votes, said, asks)
    if asks.strength:
        ahead = [[(each.strength or 0) * (rank == 1) for rank in vote] for vote, each in zip(votes, said, strict=True)]
        found["strengths"] = [fmean(column) for column in zip(*ahead, strict=True)]
    if bad := sum(each.both_bad for each in said):
        found["both_bad"] = bad / len(said)
    return found


def read_places(form: Form, answers: int) -> Ranks:
    """The place that each answer was given, in the shown order. Raises DataError naming the answers without one."""
    allowed = {str(rank): rank for rank in range(1, answers + 1)}
    said = [form.get(f"rank-{place}", "") for place in range(1, answers + 1)]
    missing = [Said("answer %(place)s", place=at) for at, rank in enumerate(said, start=1) if rank not in allowed]
    if missing:
        raise DataError(Problem("rank", Said("give a place to %(answers)s", answers=tuple(missing))))
    return tuple(allowed[rank] for rank in said)


def _read_ranking(form: Form, answers: int, asks: Asks) -> tuple[Ranks, Details]:
    return read_places(form, answers), Details()


def _fill_places(ranks: Ranks, details: Details, asks: Asks) -> dict[str, str]:
    return _placed(ranks)


def _placed(ranks: Ranks) -> dict[str, str]:
    return {f"rank-{place}": str(rank) for place, rank in enumerate(ranks, start=1)}


def _given_ranks(ranks: Ranks | None, details: Details, asks: Asks, answers: int) -> Ranks:
    return _given(ranks)


def _given(ranks: Ranks | None) -> Ranks:
    if ranks is None:
        raise StoreError(Problem("ranks", "are missing: a judgement orders the answers"))
    if any(type(rank) is not int or rank < 1 for rank in ranks):
        raise StoreError(Problem("ranks", f"ranks are whole numbers from 1 (best), not {list(ranks)}"))
    return ranks


def _read_grades(form: Form, answers: int, asks: Asks) -> tuple[None, Details]:
    allowed = {str(grade): grade for grade in LIKERT}
    names = {
        (place, axis): f"grade-{place}-{number}"
        for place in range(1, answers + 1)
        for number, axis in enumerate(asks.axes, start=1)
    }
    missing = [
        Said("answer %(place)s (%(axis)s)", place=place, axis=axis)
        for (place, axis), name in names.items()
        if form.get(name) not in allowed
    ]
    if missing:
        raise DataError(Problem("grade", Said("give a grade to %(answers)s", answers=tuple(missing))))
    ratings = ({axis: allowed[form[names[place, axis]]] for axis in asks.axes} for place in range(1, answers + 1))
    return None, Details(ratings=tuple(ratings))


def _fill_grades(ranks: Ranks, details: Details, asks: Asks) -> dict[str, str]:
    return {
        f"grade-{place}-{number}": str(grades[axis])
        for place, grades in enumerate(details.ratings, start=1)
        for number, axis in enumerate(asks.axes, start=1)
    }


def _grade_ranks(ranks: Ranks | None, details: Details, asks: Asks, answers: int) -> Ranks:
    """By the mean over the axes, which all answers share: by the sum."""
    if len(details.ratings) != answers or any(set(grades) != set(asks.axes) for grades in details.ratings):
        raise StoreError(Problem("ratings", f"each of {answers} answers has a grade on: {', '.join(asks.axes)}"))
    if any(type(grade) is not int or grade not in LIKERT for grades in details.ratings for grade in grades.values()):
        raise StoreError(Problem("ratings", f"grades are whole numbers from {LIKERT[0]} to {LIKERT[-1]} (best)"))
    return _follows(ranks, dense([-sum(grades.values()) for grades in details.ratings]))


def _follows(ranks: Ranks | None, found: Ranks) -> Ranks:
    if ranks is not None and dense(ranks) != found:
        raise StoreError(Problem("ranks", f"follow from what was said, as {list(found)}, and are not given"))
    return found


def _grade_row(answers: Sequence[str], votes: Sequence[Ranks], said: Sequence[Details], asks: Asks) -> dict[str, Any]:
    """Ratings by axis, and strengths over all axes: for each answer the mean over those who graded it."""
    ratings = {
        axis: [fmean(each.ratings[place][axis] for each in said) for place in range(len(answers))] for axis in asks.axes
    }
    strengths = [fmean(column) for column in zip(*ratings.values(), strict=True)]
    return {**_ranked_row(answers, votes, said, asks), "strengths": strengths, "ratings": ratings}


GOOD = {"good": True, "bad": False}


def _read_good(form: Form, answers: int, asks: Asks) -> tuple[None, Details]:
    if form.get("choice") not in GOOD:
        raise DataError(Problem("choice", "choose whether the answer is good or bad"))
    return None, Details(good=GOOD[form["choice"]])


def _fill_good(ranks: Ranks, details: Details, asks: Asks) -> dict[str, str]:
    return {"choice": "good" if details.good else "bad"}


def _good_ranks(ranks: Ranks | None, details: Details, asks: Asks, answers: int) -> Ranks:
    if details.good is None:
        raise StoreError(Problem("good", "is missing: the answer is good, or it is bad"))
    return _follows(ranks, (1,))


def _label_row(
    answers: Sequence[str], votes: Sequence[Ranks], said: Sequence[Details], asks: Asks
) -> dict[str, Any] | None:
    good, bad = (sum(each.good is word for each in said) for word in (True, False))
    return None if good == bad else {"completion": answers[0], "label": good > bad}


def _decide_good(form: Form, answers: int) -> Ranks:
    """Beside what would be just good enough, as `store.ranks.compared` has it."""
    return compared((1,), _read_good(form, answers, ORDER_ONLY)[1].good)


def _decided_good(ranks: Ranks) -> dict[str, str]:
    return _fill_good((1,), Details(good=ranks == (1,)), ORDER_ONLY)


def _settle_label(answers: Sequence[str], said: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    return {"completion": answers[0], "label": ranks[0] < ranks[1]}


def _settle_ranks(answers: Sequence[str], said: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Strengths are as far apart as people called them, and in the settled order."""
    moved = {"strengths": in_order(said["strengths"], ranks)} if "strengths" in said else {}
    return {**said, "ranks": list(ranks), **moved}


def _ranked_row(answers: Sequence[str], votes: Sequence[Ranks], said: Sequence[Details], asks: Asks) -> dict[str, Any]:
    return {"completions": list(answers), "ranks": list(agreed(votes))}


KINDS: Mapping[CampaignKind, Kind] = {
    "pairwise": Kind(
        fewest=2,
        most=2,
        says=frozenset({"strength", "both_bad"}),
        asks=frozenset({"strength"}),
        read=_read_pair,
        fill=_fill_pair,
        ranks=_pair_ranks,
        row=_pair_row,
        decide=read_places,
        decided=_placed,
        settle=_settle_ranks,
    ),
    "ranking": Kind(
        fewest=2,
        most=9,
        read=_read_ranking,
        fill=_fill_places,
        ranks=_given_ranks,
        row=_ranked_row,
        decide=read_places,
        decided=_placed,
        settle=_settle_ranks,
    ),
    "scale": Kind(
        fewest=1,
        most=9,
        says=frozenset({"ratings"}),
        asks=frozenset({"axes"}),
        read=_read_grades,
        fill=_fill_grades,
        ranks=_grade_ranks,
        row=_grade_row,
        decide=read_places,
        decided=_placed,
        settle=_settle_ranks,
        question="How good is each answer?",
    ),
    "good_bad": Kind(
        fewest=1,
        most=1,
        says=frozenset({"good"}),
        read=_read_good,
        fill=_fill_good,
        ranks=_good_ranks,
        row=_label_row,
        decide=_decide_good,
        decided=_decided_good,
        settle=_settle_label,
        rule="majority",
        ties="left out",
        holds="labels",
        question="Is the answer good?",
    ),
}
