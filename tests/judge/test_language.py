import pytest

from burnish.judge import language
from burnish.judge.amounts import amounts, identifiers, numbers


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("You have 30 days to send it back.", "en"),
        ("Tiene 30 días para devolver la maceta.", "es"),
        ("Sie haben 30 Tage Zeit für die Rückgabe.", "de"),
        ("Monstera deliciosa", None),
        ("", None),
    ],
)
def test_language(text: str, code: str | None):
    assert language.guess_language(text) == code


def test_language_of_the_shipped_answers(answered):
    guessed = [(language.guess_language(answer), p.meta["language"]) for p, answer in answered]
    assert sum(found not in (None, meant) for found, meant in guessed) == 0
    assert sum(found is None for found, _ in guessed) < 0.05 * len(guessed)


def test_sentences():
    assert language.sentences("It costs 43.80 euros. Is that fine? Yes") == 3
    assert language.ends_as_sentence('He said: "Yes."')
    assert not language.ends_as_sentence("and then")


def test_borrowing():
    assert language.borrowed_share(list("abcdx"), list("yabcd")) == 0.5


def test_amounts_in_three_languages():
    assert amounts("3 to 5 days, 3 a 5 días, 3 bis 5 Tage") == {("3", "day"), ("5", "day")}
    assert amounts("an 18-month warranty, 18 Monate, 18 meses") == {("18", "month")}
    assert amounts("6 dollars, $6, 6.00 dólares, 6 Dollar") == {("6", "dollar")}
    assert amounts("5 Euro, 5 €, €5") == {("5", "euro")}
    assert amounts("two weeks, order 12, 2 plants") == set()
    assert amounts("20 % de descuento, 20 percent, 20 Prozent") == {("20", "percent")}


def test_numbers_and_identifiers():
    assert numbers("1, 2.50 and 900") == {"1", "2.50", "900"}
    assert identifiers("JM-48213, SAVE20, 48213, MX, 2024, Apple") == {"JM-48213", "SAVE20", "48213"}
