"""Rules on answers worked out by hand, and rules that would never end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from burnish.errors import ConfigError, DataError
from burnish.rewards import checker
from burnish.rewards.checked import by_rule
from burnish.rewards.comparison import last_number, normalised
from burnish.rewards.rules import RULES
from burnish.types import Completion, Message, Prompt, Stop

SHOP = Path(__file__).parents[2] / "recipes" / "support" / "shop.yaml"


def asked(text: str = "How many?", **meta: Any) -> Prompt:
    return Prompt(id="rows.jsonl:7", messages=(Message(role="user", content=text),), meta=meta)


def said(text: str, tokens: int = 3) -> Completion:
    return Completion(text=text, stop=Stop.EOS, ids=tuple(range(tokens)))


def scores(kind: str, settings: dict[str, Any], *pairs: tuple[Prompt, str], base: Path = Path()) -> list[float | None]:
    reward = by_rule(kind, RULES[kind].model_validate(settings), base, kind)
    rated = reward.score([prompt for prompt, _ in pairs], [said(text) for _, text in pairs])
    assert rated.scores == [each or 0.0 for each in rated.parts[kind]]
    return list(rated.parts[kind])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("72", "72"),
        ("It costs $1,250.50.", "1250.5"),
        ("9 - 4 = 5", "5"),
        ("x = -5", "-5"),
        ("from 3-4", "4"),
        ("\N{MINUS SIGN}2 degrees", "-2"),
        ("72.00 of 100%, no, 72.0", "72"),
        ("seven", None),
        ("1" * 5000, None),
    ],
)
def test_the_last_number_of_a_text(text: str, number: str | None) -> None:
    assert last_number(text) == (None if number is None else pytest.approx(float(number)))


def test_text_is_the_same_but_for_case_spaces_and_edges() -> None:
    assert normalised('  "The  Blue\nFern". ') == normalised("the blue fern") == "the blue fern"
    assert normalised("ﬁne") == "fine"
    assert normalised(" . ") is None


def test_exact_text_number_and_one_of_several() -> None:
    assert scores("exact", {"column": "a"}, (asked(a="Lyon"), "lyon."), (asked(a="Lyon"), "In Lyon")) == [1.0, 0.0]
    several = asked(answer=["grey", "gray"])
    assert scores("exact", {}, (several, "Gray!"), (several, "green")) == [1.0, 0.0]
    number = {"compare": "last_number"}
    gsm = asked(answer="16 - 3 - 4 = 9 eggs\n#### 1,018")
    assert scores("exact", number, (gsm, "She has 9, so it is 1018."), (gsm, "1018 or 9"), (gsm, "many")) == [1, 0, 0]
    assert scores("exact", number, (asked(answer=2.5), "2.50")) == [1.0]


def test_what_stands_after_a_mark_is_compared() -> None:
    marked = {"compare": "last_number", "after": "####"}
    row = asked(answer="16 - 3 = 13 #### 18")
    assert scores("exact", marked, (row, "#### 4 #### 18 eggs"), (row, "18"), (row, "18 #### none")) == [1.0, 0.0, 0.0]
    assert scores("exact", {"after": ":"}, (asked(answer="yes"), "so: Yes")) == [1.0]


@pytest.mark.parametrize(
    ("kind", "settings", "meta", "says"),
    [
        ("exact", {}, {"answer": None}, "neither text nor a number"),
        ("exact", {}, {"answer": True}, "neither text nor a number"),
        ("exact", {}, {"answer": []}, "neither text nor a number"),
        ("math", {}, {"answer": {"value": 1}}, "neither text nor a number"),
        ("exact", {"compare": "last_number"}, {"answer": ["7", "seven"]}, 'no number in "answer" (seven)'),
    ],
)
def test_rows_that_nothing_can_be_compared_with(
    kind: str, settings: dict[str, Any], meta: dict[str, Any], says: str
) -> None:
    assert says in (RULES[kind].model_validate(settings).unfit(meta) or "")


def test_format_is_the_whole_answer_and_regex_a_part_of_it() -> None:
    pattern = {"pattern": r"<think>.*</think>\d+"}
    pairs = [(asked(), " <think>a\nb</think>7\n"), (asked(), "so <think></think>7")]
    assert scores("format", pattern, *pairs) == [1.0, 0.0]
    assert scores("regex", pattern, *pairs) == [1.0, 1.0]


def test_length_is_a_window_with_slopes() -> None:
    window = {"least": 2, "most": 3, "slack": 2}
    texts = ["", "one", "one two", "one two three", "1 2 3 4", "1 2 3 4 5"]
    assert scores("length", window, *[(asked(), text) for text in texts]) == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    assert scores("length", {"most": 3, "unit": "characters"}, (asked(), "abc"), (asked(), "abcd")) == [1.0, 0.0]
    assert scores("length", {"least": 4, "slack": 4, "unit": "tokens"}, (asked(), "x")) == [0.75]  # three ids


@pytest.mark.parametrize("settings", [{}, {"least": 3, "most": 2}, {"most": -1}])
def test_lengths_that_nothing_has(settings: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        RULES["length"].model_validate(settings)


def test_language_is_the_users_unless_it_is_named() -> None:
    german, english = "Das ist nicht auf dem Tisch.", "It is not on the table."
    assert scores("language", {"code": "de"}, (asked(), german), (asked(), english), (asked(), "42")) == [1.0, 0.0, 0.0]
    same = [(asked("Wo ist die Lieferung und was kostet das?"), german), (asked(language="en"), german)]
    assert scores("language", {}, *same) == [1.0, 0.0]
    tagged = [(asked(language="de-AT"), german), (asked(language="pt_BR"), german), (asked("42?"), german)]
    assert scores("language", {}, *tagged) == [1.0, 0.0, None]
    assert scores("language", {}, (asked(language="tlh"), german)) == [None]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("fr", "Votre commande est partie ce matin."),
        ("pt", "A sua encomenda saiu esta manhã."),
        ("pl", "Twoje zamówienie wyszło dziś rano."),
        ("tr", "Siparişiniz bu sabah yola çıktı."),
        ("ar", "لقد خرج طلبك هذا الصباح."),
        ("hi", "आपका ऑर्डर आज सुबह निकल गया।"),
        ("zh", "您的订单今天早上已经发出。"),
        ("ja", "ご注文の品は今朝発送されました。"),
        ("sw", "Oda yako imeondoka asubuhi ya leo."),
    ],
)
def test_languages_beyond_those_of_the_shop(code: str, text: str) -> None:
    english = "Your order left us this morning."
    assert scores("language", {"code": code}, (asked(), text), (asked(), english)) == [1.0, 0.0]
    assert scores("language", {"code": "en"}, (asked(), text), (asked(), english)) == [0.0, 1.0]


def test_how_sure_one_must_be_of_a_language() -> None:
    """Of a few words nobody is very sure; faces and code are in no language."""
    texts = [(asked(), text) for text in ("Yes, you can.", "\N{GRINNING FACE}" * 3, "x = f(y)", "")]
    assert scores("language", {"code": "en"}, *texts) == [1.0, 0.0, 0.0, 0.0]
    assert scores("language", {"code": "en", "sure": 0.99}, texts[0]) == [0.0]


def test_what_is_no_language_asks_for_none() -> None:
    """A user's last turn of code or sums says nothing of the language that is wanted."""
    turns = ["def f(x):\n    return x + 1\n\nfor i in range(10):\n    print(f(i))", "12 * 34 + 56 = 464; 7 / 8 = 0.875"]
    assert scores("language", {}, *[(asked(turn), "It is not on the table.") for turn in turns]) == [None, None]
    with pytest.raises(ConfigError, match="'zxx' is no language"):
        scores("language", {"code": "zxx"}, (asked(), "Hello"))


def test_a_variety_is_called_by_its_language() -> None:
    mandarin, norwegian = "您的订单今天早上已经发出。", "Bestillingen din ble sendt i morges, og kommer i morgen."
    assert scores("language", {"code": "yue"}, (asked(), mandarin)) == [1.0]
    assert scores("language", {}, (asked(language="nb-NO"), norwegian)) == [1.0]


def test_a_row_that_says_its_language_in_words_is_unfit() -> None:
    rule = RULES["language"].model_validate({})
    assert rule.unfit({"language": "German"}) == "\"language\" is 'German', and no tag such as de or pt-BR"
    assert [rule.unfit(meta) for meta in ({"language": "tlh"}, {"language": "pt-BR"}, {"language": ""}, {})] == [
        None
    ] * 4


def test_a_language_that_nobody_tells_apart() -> None:
    with pytest.raises(ConfigError, match="'xx' is no language"):
        scores("language", {"code": "xx"}, (asked(), "Hello"))
    with pytest.raises(ValidationError):
        RULES["language"].model_validate({"code": "German"})


def test_json_and_its_schema(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    (tmp_path / "reply.json").write_text(json.dumps(schema))
    texts = ['{"n": 3}', '{"n": "3"}', "3", 'Here: {"n": 3}', '{"n": NaN}', "[" * 100_000]
    pairs = [(asked(), text) for text in texts]
    assert scores("json_schema", {"file": "reply.json"}, *pairs, base=tmp_path) == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert scores("json_schema", {}, *pairs) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"type": ', "reply.json:1:10: no JSON"),
        ('{"type": "text"}', "no JSON schema ('text' is not valid"),
        ('{"properties": {"n": {"pattern": "("}}}', "no JSON schema"),
    ],
)
def test_a_broken_schema_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "reply.json").write_text(text)
    with pytest.raises(DataError) as caught:
        scores("json_schema", {"file": "reply.json"}, (asked(), "1"), base=tmp_path)
    assert says in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        scores("json_schema", {"file": "none.json"}, (asked(), "1"), base=tmp_path)


def test_a_number_beyond_all_bounds_fits_no_schema_and_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "reply.json").write_text('{"multipleOf": 0.1}')
    pairs = [(asked(), "1e400"), (asked(), "0.5")]
    assert scores("json_schema", {"file": "reply.json"}, *pairs, base=tmp_path) == [0.0, 1.0]


def test_a_schema_fetches_nothing(tmp_path: Path) -> None:
    (tmp_path / "reply.json").write_text('{"$ref": "http://127.0.0.1:9/other.json"}')
    with pytest.raises(DataError, match="a reference that leads nowhere in it"):
        scores("json_schema", {"file": "reply.json"}, (asked(), "1"), base=tmp_path)


def test_the_gold_rule_as_a_reward() -> None:
    row = asked("May I return a plant?", region="EU", kind="refuse")
    gold = scores("rubric", {"file": SHOP.name}, (row, "Sorry, I can't help with that."), (row, ""), base=SHOP.parent)
    assert gold[0] is not None
    assert gold[0] > 0.5
    assert gold[1] is not None
    assert gold[1] < 0.5
    with pytest.raises(DataError, match=r'rows\.jsonl:7: region "Mars" is not known'):
        scores("rubric", {"file": SHOP.name}, (asked(region="Mars"), "Hello."), base=SHOP.parent)


def test_mathematics_is_compared_as_mathematics_and_stopped_when_it_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One process for all of it, since sympy takes its time to load."""
    right = [("1/2", "It is $\\frac{1}{2}$."), ("\\frac{1}{2}", "0.5"), ("x^2+2x+1", "$(x+1)^2$"), (72, "\\boxed{72}")]
    wrong = [("1/2", "$\\frac{1}{3}$"), ("72", "nothing"), ("7", "$9^{9^{9^{9}}}$"), ("7", "8")]
    monkeypatch.setattr(checker, "SECONDS", 1.0)
    reward = by_rule("math", RULES["math"].model_validate({}), Path(), "math")
    pairs = [(asked(answer=answer), said(text)) for answer, text in right + wrong]
    rated = reward.score([prompt for prompt, _ in pairs], [answer for _, answer in pairs])
    assert rated.scores == [1.0] * 4 + [0.0] * 4
    assert rated.parts["math/stopped"] == [0, 0, 0, 0, 0, 0, 1, 0]
    with pytest.raises(DataError, match=r"rows\.jsonl:7: math: no mathematics in the right answer"):
        reward.score([asked(answer="")], [said("7")])


def test_an_expression_without_an_end_costs_its_answer_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "SECONDS", 0.2)
    rule = RULES["regex"].model_validate({"pattern": "^(a+)+$"})
    reward = by_rule("regex", rule, Path(), "shape")
    texts = ["aaa", "a" * 60 + "b", "aa", "ab"]
    rated = reward.score([asked()] * 4, [said(text) for text in texts])
    assert rated.scores == [1.0, 0.0, 1.0, 0.0]
    assert rated.parts == {"shape": rated.scores, "shape/stopped": [0.0, 1.0, 0.0, 0.0]}
    assert reward.score([asked()], [said("a")]).parts == {"shape": [1.0]}


def test_a_process_that_was_ended_between_two_questions_is_begun_anew() -> None:
    """As the system does where memory is short: what it was asked next is lost, and what comes after is not."""
    reward = by_rule("regex", RULES["regex"].model_validate({"pattern": "a"}), Path(), "shape")
    assert reward.score([asked()], [said("a")]).scores == [1.0]
    subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "-f", checker.__name__], check=True)
    time.sleep(0.2)
    rated = reward.score([asked()] * 2, [said("a"), said("a")])
    assert (rated.scores, rated.parts["shape/stopped"]) == ([0.0, 1.0], [1.0, 0.0])


def test_the_limit_leaves_honest_work_its_time() -> None:
    """A million characters are read in far less."""
    assert scores("regex", {"pattern": r"\d+ end"}, (asked(), "1 " * 500_000 + "end")) == [1.0]
