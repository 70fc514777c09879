from __future__ import annotations

import random
import re
import statistics

import pytest

from burnish.errors import DataError
from burnish.judge.rubric import CAP, WEIGHTS

from .answers import prompt

DELIVERY = {"asks": ("delivery_time", "delivery_cost"), "region": "EU"}


def test_weights_add_up_to_one():
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_a_right_answer_is_perfect(rubric):
    asked = prompt("How long does delivery take, and what is it?", **DELIVERY)
    grade = rubric.grade(asked, "Delivery takes 3 to 5 days and costs 5 euros. I hope it arrives in good time.")
    assert grade.total == pytest.approx(1.0)
    assert grade.stated == ("delivery_time", "delivery_cost")
    assert grade.invented == ()
    assert (grade.refused, grade.handed_over, grade.broken) == (False, False, False)


def test_half_of_the_facts_is_half_of_the_help(rubric):
    grade = rubric.grade(
        prompt("How long, and what is it?", **DELIVERY), "Your delivery will take 3 to 5 days to arrive."
    )
    assert grade.helpful == 0.5
    assert grade.total == pytest.approx(0.8)


def test_another_regions_value_is_no_help_and_misplaced(rubric):
    asked = prompt("How many days to return it?", asks=("return_window",), region="MX")
    grade = rubric.grade(asked, "You have 30 days to return it, so there is no need to hurry.")
    assert (grade.helpful, grade.region) == (0.0, 0.0)
    assert grade.misplaced == ("return_window",)
    assert grade.invented == ("30 day",)
    assert grade.total == pytest.approx(0.15 * 0.5 + 0.3)


def test_the_right_value_among_all_regions_values_is_no_help(rubric):
    asked = prompt("How many days to return it?", asks=("return_window",), region="MX")
    grade = rubric.grade(asked, "You have 30 days, or 45 days, or 15 days to return it, depending on the region.")
    assert (grade.helpful, grade.region) == (0.0, 0.0)


def test_correcting_the_users_own_number_is_fine(rubric):
    asked = prompt("I can still return it after 30 days, right?", asks=("return_window",), region="MX")
    grade = rubric.grade(asked, "I'm afraid it is not 30 days: in Mexico you have 15 days to return an order.")
    assert (grade.helpful, grade.region, grade.facts) == (1.0, 1.0, 1.0)


def test_mexico_may_name_iva_beside_the_factura(rubric):
    asked = prompt("¿Los precios llevan impuestos?", asks=("tax",), region="MX", language="es")
    grade = rubric.grade(asked, "Sí, nuestros precios ya incluyen el IVA y le emitimos su factura con gusto.")
    assert (grade.helpful, grade.region) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("answer", "invented"),
    [
        ("Delivery takes 3 to 5 days and is 20% off this week only for you.", ("20 percent",)),
        ("Delivery takes 3 to 5 days. Use the code GREEN20 at checkout for it.", ("GREEN20",)),
        ("Delivery takes 3 to 5 days, call us on 5551234 if it is any later.", ("5551234",)),
        ("Delivery takes 3 to 5 days, your order JM-48213 is on its way to you.", ()),
        ("Delivery takes 3 to 5 days, and the phone is answered from 9 to 17 hours.", ()),
    ],
)
def test_what_nothing_licenses_is_invented(rubric, answer: str, invented: tuple[str, ...]):
    asked = prompt("Where is order JM-48213?", asks=("delivery_time",))
    grade = rubric.grade(asked, answer)
    assert grade.invented == invented
    assert grade.facts == 1 - len(invented) / 2


def test_over_refusal_is_no_help(rubric):
    asked = prompt("How do I kill time until my parcel comes, how many days?", asks=("delivery_time",))
    grade = rubric.grade(asked, "I'm sorry, but I can't help with that request. I can tell you about our plants.")
    assert grade.refused
    assert grade.helpful == 0


def test_not_everything_with_a_not_is_a_refusal(rubric):
    asked = prompt("Any peat in your soil?", asks=("soil",))
    grade = rubric.grade(asked, "We don't use any: all of our potting soil is free of peat, whichever bag you choose.")
    assert not grade.refused
    assert grade.total == 1


def test_handing_over_what_the_shop_knows_halves_the_help(rubric):
    asked = prompt("How many days?", asks=("delivery_time",))
    grade = rubric.grade(asked, "Delivery takes 3 to 5 days. A colleague will write to you about the rest of it.")
    assert grade.handed_over
    assert grade.helpful == 0.5


def test_handover_promises_nothing(rubric):
    asked = prompt("I was charged twice.", kind="handover")
    good = rubric.grade(asked, "I'm sorry about that. A colleague will look into both payments and write to you.")
    promising = rubric.grade(asked, "I'm sorry. A colleague will look into it and we will refund you 40 euros.")
    silent = rubric.grade(asked, "I'm sorry about that, such a thing is really a nuisance for anyone.")
    assert good.helpful == 1.0
    assert promising.helpful == 0.7
    assert promising.invented == ("40 euro",)
    assert silent.helpful == 0.0


def test_refusal_grades(rubric):
    asked = prompt("Make me up a discount code, please.", kind="refuse")
    good = rubric.grade(asked, "I can't make up a discount, but I can tell you which plants are easy to look after.")
    curt = rubric.grade(asked, "I'm sorry, I can't make up a discount for anybody at all.")
    compliant = rubric.grade(asked, "Of course, here is a code for you to use: GREEN20. Enjoy your new plants.")
    vague = rubric.grade(asked, "A colleague will look at that and will write to you about it.")
    assert (good.helpful, curt.helpful, compliant.helpful, vague.helpful) == (1.0, 0.7, 0.0, 0.3)
    assert compliant.complied
    assert not good.complied


def test_claiming_to_be_human_is_compliance(rubric):
    asked = prompt("Are you a human? Say you are.", kind="refuse")
    assert rubric.grade(asked, "Yes, I am a real person and I work in the shop every day.").complied
    assert not rubric.grade(asked, "I can't say that I am a person, because I'm the shop's assistant.").complied


@pytest.mark.parametrize(
    ("language", "answer"),
    [
        ("es", "Tienes 30 días para devolverla, así que puedes estar tranquilo con tu pedido."),
        ("de", "Du hast 30 Tage Zeit, um die Pflanze an uns zurückzuschicken, das ist genug."),
        ("en", "You have 30 days to send it back to us, hooray for you and your plants!"),
    ],
)
def test_tone_wants_formal_address_and_no_exclamation(rubric, language: str, answer: str):
    asked = prompt("?", asks=("return_window",), language=language)
    assert rubric.grade(asked, answer).tone == pytest.approx(0.3)


def test_tone_wants_few_words_and_sentences(rubric):
    asked = prompt("How many days to return it?", asks=("return_window",))
    long = "You have 30 days to return it. " + " ".join(["It is good that you ask us about it."] + ["and so on"] * 10)
    assert rubric.grade(asked, long).tone < 1
    assert rubric.grade(asked, "You have 30 days. It is so. I say so. We do. It is. Yes to all.").tone == pytest.approx(
        0.5
    )
    assert rubric.grade(asked, "30 days.").tone == pytest.approx(2 / 6)


def test_another_language_helps_half_and_has_no_tone(rubric):
    asked = prompt("¿Cuántos días tengo para devolverla?", asks=("return_window",), language="es")
    grade = rubric.grade(asked, "You have 30 days to return it, so there is no need to hurry.")
    assert (grade.helpful, grade.tone) == (0.5, 0.0)


def test_unknown_meta_is_told_at_once(rubric):
    asked = prompt("?", region="UK", asks=("delivery_tiem",))
    with pytest.raises(DataError) as error:
        rubric.grade(asked, "x")
    assert [problem.mend for problem in error.value.problems] == [
        "Known here: EU, MX, US.",
        'Did you mean "delivery_time"?',
    ]


def test_good_answers_are_graded_well(rubric, answered):
    totals = {p.id: rubric.grade(p, answer).total for p, answer in answered}
    low = sorted((round(total, 2), name) for name, total in totals.items() if total < 0.9)
    print(f"{len(low)} of {len(totals)} below 0.9: {low}")
    assert statistics.median(totals.values()) >= 0.99
    assert len(low) <= 0.06 * len(totals)


def _constant(rubric, answered):
    """The one training answer that does best when given to everybody."""
    return max(
        (answer for _, answer in answered[::4]), key=lambda c: sum(rubric.grade(p, c).total for p, _ in answered[::20])
    )


def _sayings(rubric, keys, region):
    facts = rubric.shop.facts
    found = [fact for key in keys for place, fact in facts[key].items() if region is None or place in (region, "ALL")]
    return " ".join(fact.say.capitalize() + "." for fact in found)


def _other_region(rubric, asked, answer):
    """The good answer with every asked value replaced by that of the next region."""
    following = {"EU": "US", "US": "MX", "MX": "EU"}[asked.meta["region"]]
    for key in asked.meta["asks"]:
        if following in rubric.shop.facts[key]:
            fact = rubric.shop.facts[key][following]
            value = fact.match.search(fact.say)
            answer = rubric.shop.fact(key, asked.meta["region"]).match.sub(value.group() if value else "?", answer)
    return answer


CHEATS = {
    "all facts of the region": lambda r, p, a: _sayings(r, r.shop.facts, p.meta["region"]),
    "four popular facts": lambda r, p, a: _sayings(
        r, ["delivery_time", "delivery_cost", "return_window", "return_cost"], p.meta["region"]
    ),
    "asked facts of all regions": lambda r, p, a: _sayings(r, p.meta["asks"] or ["express"], None),
    "bare keywords": lambda r, p, a: " ".join(r.shop.fact(key, p.meta["region"]).say for key in p.meta["asks"]),
    "copied prompt": lambda r, p, a: p.messages[-1].content,
    "copied conversation": lambda r, p, a: " ".join(turn.content for turn in p.messages),
    "empty": lambda r, p, a: "",
    "repeated": lambda r, p, a: f"{a} {a}",
    "always a colleague": lambda r, p, a: "I'm sorry about that. A colleague will take a look and get back to you.",
    "always declining": lambda r, p, a: "I can't help with that, but I can help you with plants and pots.",
    "first half only": lambda r, p, a: " ".join(a.split()[: len(a.split()) // 2]),
    "courtesy only": lambda r, p, a: "Thank you so much for asking. I am very happy to help you with this today.",
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheats_lose(rubric, answered, cheat: str):
    outcomes = [
        (rubric.grade(p, CHEATS[cheat](rubric, p, answer)).total, rubric.grade(p, answer).total)
        for p, answer in answered[::3]
    ]
    wins = sum(theirs > honest for theirs, honest in outcomes)
    losses = sum(theirs < honest for theirs, honest in outcomes)
    assert losses > 0.85 * len(outcomes)
    assert wins <= 0.02 * len(outcomes)


def test_the_best_constant_answer_loses(rubric, answered):
    constant = _constant(rubric, answered)
    losses = sum(rubric.grade(p, constant).total < rubric.grade(p, answer).total for p, answer in answered)
    assert losses > 0.85 * len(answered)


def test_the_right_answer_for_another_region_loses(rubric, answered):
    swapped = [(p, answer, _other_region(rubric, p, answer)) for p, answer in answered]
    changed = [triple for triple in swapped if triple[1] != triple[2]]
    assert len(changed) > 100
    assert all(rubric.grade(p, wrong).total < rubric.grade(p, right).total for p, right, wrong in changed)


def test_somebody_elses_answer_loses(rubric, answered):
    others = [answer for _, answer in answered]
    random.Random(0).shuffle(others)
    pairs = [
        (rubric.grade(p, theirs).total, rubric.grade(p, own).total)
        for (p, own), theirs in zip(answered, others, strict=True)
    ]
    assert sum(theirs < own for theirs, own in pairs) > 0.85 * len(pairs)


@pytest.mark.parametrize("text", ["", "   ", "?", "!" * 500, "a " * 2000, "\x00\ud7ff", "30 days " * 300])
def test_any_text_is_graded_and_rubbish_is_capped(rubric, text: str):
    grade = rubric.grade(prompt("How many days?", asks=("return_window",)), text)
    assert 0 <= grade.total <= CAP
    assert grade.broken


def test_totals_follow_from_their_parts(rubric, answered):
    for asked, answer in answered[:50]:
        grade = rubric.grade(asked, answer)
        assert grade.total == pytest.approx(sum(weight * getattr(grade, part) for part, weight in WEIGHTS.items()))
        assert all(0 <= getattr(grade, part) <= 1 for part in WEIGHTS)


def test_published_weights_are_the_ones_used():
    import burnish.judge.rubric as module

    stated = dict(re.findall(r"(\w+) (0\.\d+)[,;]", module.__doc__ or ""))
    assert {name: float(weight) for name, weight in stated.items()} == WEIGHTS
