"""The languages of the pages: which there are, which one a request wants, and saying a text in it. Knows no page.

A text is known by its English words; a language is one file of `languages`, with a translation for each. What has none
is said in English. Named places are `%(name)s` where Python or a template fills them, `{name}` where a script does.
Numbers stand where they change no word beside them ("Items: 3"), so that no language needs rules for its plurals.

The files are ours, and their texts may hold the same tags as the English ones, so that a page shows them as they are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from burnish.errors import Problem, Said
from burnish.records.languages import language as primary_tag

COOKIE = "burnish_language"
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How one language says what pages say."""

    code: str
    """Its tag (BCP 47), which is the name of its file."""
    name: str
    """What it calls itself."""
    direction: str = "ltr"
    """Or rtl."""
    decimal: str
    thousands: str
    """What stands between whole numbers and fractions, and between thousands."""
    texts: Mapping[str, str]
    """By the English text."""

    def say(self, text: str) -> str:
        """A text in this language; one with places (`Said`) with what stands in them."""
        if isinstance(text, Said):
            return self.say(text.text) % {name: self._filled(value) for name, value in text.values.items()}
        return self.texts.get(text, text)

    def sentence(self, problem: Problem) -> str:
        """What went wrong, for a page: without the place, as a sentence."""
        found = self.say(problem.found)
        return f"{found[:1].upper()}{found[1:]}. {self.say(problem.mend)}".rstrip()

    def number(self, value: float, digits: int = 0) -> str:
        """A number with so many digits behind the point."""
        marks = str.maketrans({",": self.thousands, ".": self.decimal})
        return f"{value:,.{digits}f}".translate(marks)

    def _filled(self, value: object) -> str:
        if isinstance(value, tuple):
            return ", ".join(map(self._filled, value))  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(value, Said):
            return self.say(value)
        return self.number(value) if isinstance(value, int | float) else str(value)


ENGLISH = Language(code="en", name="English", decimal=".", thousands=",", texts={})


def _read(file: Path) -> Language:
    return Language(code=file.stem, **tomllib.loads(file.read_text(encoding="utf-8")))


LANGUAGES: Mapping[str, Language] = {
    "en": ENGLISH,
    **{file.stem: _read(file) for file in sorted((HERE / "languages").glob("*.toml"))},
}


def spoken(request: Request) -> Language:
    """The language of a request: that of its cookie, else the browser's favourite among ours, else English."""
    if chosen := LANGUAGES.get(request.cookies.get(COOKIE, "")):
        return chosen
    accepted = request.headers.get("accept-language", "")
    known = (LANGUAGES.get(primary_tag(tag) or "") for tag in _by_favour(accepted))
    return next((language for language in known if language), ENGLISH)


def _by_favour(accepted: str) -> list[str]:
    """The tags of an Accept-Language header, the favourite first; those of weight 0 are refused, and left out."""
    weights: dict[str, float] = {}
    for part in accepted.split(","):
        tag, _, weight = part.partition(";")
        try:
            weights[tag] = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
    return sorted((tag for tag, weight in weights.items() if weight > 0), key=lambda tag: -weights[tag])


def environment(**filters: Any) -> Environment:
    """The templates, which find the language of their page in `language`. They name their own texts with `_`, where a
    per cent sign is written twice; a text that a table holds has the filter `say`, an error `sentence`. Further filters
    are given."""
    made = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, auto_reload=False)
    named, known = cast("dict[str, Any]", made.globals), cast("dict[str, Any]", made.filters)  # typed by what they hold
    named["_"] = _text
    known |= {"say": _say, "sentence": _sentence, "number": _number, **filters}
    return made


@pass_context
def _text(context: Context, text: str, /, **values: object) -> Markup:
    return Markup(context["language"].say(text)) % values  # which escapes the values


@pass_context
def _say(context: Context, text: str) -> str:
    return context["language"].say(text)


@pass_context
def _sentence(context: Context, problem: Problem) -> str:
    return context["language"].sentence(problem)


@pass_context
def _number(context: Context, value: float, digits: int = 0) -> str:
    return context["language"].number(value, digits)
