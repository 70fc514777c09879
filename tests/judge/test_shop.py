from __future__ import annotations

from pathlib import Path

import pytest

from burnish.errors import ConfigError
from burnish.judge.shop import load_shop

from .answers import RECIPE

GOOD = (RECIPE / "shop.yaml").read_text("utf-8")


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "shop.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(ConfigError) as error:
        load_shop(path)
    return [str(problem).replace(f"{path}", "shop.yaml") for problem in error.value.problems]


def test_the_shipped_table_reads():
    shop = load_shop(RECIPE / "shop.yaml")
    assert tuple(shop.regions) == ("EU", "US", "MX")
    assert shop.fact("return_window", "MX").say == "15 days to return"
    assert shop.fact("cats", "MX") == shop.fact("cats", "EU")
    assert "charged_twice" in shop.handover


def test_every_fact_is_said_by_its_own_words():
    shop = load_shop(RECIPE / "shop.yaml")
    unsaid = [
        (key, region)
        for key, values in shop.facts.items()
        for region, fact in values.items()
        if not fact.match.search(fact.say)
    ]
    # The German and Spanish words count as said; these English sentences only describe the fact.
    assert set(unsaid) <= {("water_snake_plant", "ALL")}, unsaid


def test_unknown_key_names_place_and_mend(tmp_path: Path):
    line = GOOD[: GOOD.index("\nphrases:")].count("\n") + 2
    assert problems(tmp_path, GOOD.replace("phrases:", "phases:")) == [
        'shop.yaml: "phrases" is missing. Add: phrases: ...',
        f'shop.yaml:{line}:1: "phases" is not a setting. Did you mean "phrases"?',
    ]


def test_all_problems_at_once(tmp_path: Path):
    bad = GOOD.replace("max_words: 60", "max_words: sixty").replace("'Nordpost'", "'Nord(post'")
    told = problems(tmp_path, bad.replace("say: 30 days to return, match", "say: 30 days to return, macht"))
    assert [line for line in told if "tone.max_words" in line and "valid integer" in line]
    assert [line for line in told if "facts.carrier.EU.match: not a pattern: missing )" in line]
    assert [line for line in told if '"facts.return_window.EU.macht" is not a setting. Did you mean "match"?' in line]
    assert all(line.startswith("shop.yaml:") for line in told)


def test_a_fact_for_every_region(tmp_path: Path):
    gap = "    MX: {say: our shop with a door is in Puebla, match: 'Puebla'}\n"
    line = GOOD[: GOOD.index("  store:")].count("\n") + 1
    assert problems(tmp_path, GOOD.replace(gap, "")) == [
        f"shop.yaml:{line}:3: facts.store: a value for each of EU, MX, US is wanted, or one for ALL."
    ]


def test_a_table_may_give_its_own_phrases(tmp_path: Path):
    path = tmp_path / "shop.yaml"
    path.write_text(GOOD + "  promise: 'cross my heart'\n", "utf-8")
    assert load_shop(path).phrases.promise.search("I CROSS my heart")
    assert load_shop(path).phrases.offer.search("I can suggest a fern")


@pytest.mark.parametrize("text", ["name: [", "- 1\n", "", "name: a\nname: b\n", "name: !!python/object:os.system x\n"])
def test_broken_files(tmp_path: Path, text: str):
    assert problems(tmp_path, text)[0].startswith("shop.yaml:")
