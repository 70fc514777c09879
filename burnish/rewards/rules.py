"""Rules that an answer can be checked by: settings, and the number that each makes of an answer. Knows text and the
columns of a prompt's row; no model, no tensor, and nothing of what the number is weighed with.

Mostly 1 is right and 0 is wrong. None says that the rule has nothing to say of this answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from burnish.config import Strict
from burnish.judge.language import words
from burnish.judge.rubric import Rubric
from burnish.records.files import located
from burnish.records.languages import language as primary_tag
from burnish.rewards.comparison import last_number, normalised
from burnish.types import Completion, Prompt

Check = Callable[[Prompt, Completion], float | None]
"""What a rule says of one answer."""


class OfAnswer(Strict):
    """What the rules share that look at the answer alone."""

    endless: ClassVar[bool] = False
    """Whether one answer may keep the rule busy for ever: then it is asked in a process that can be stopped."""

    scale: ClassVar[Literal["share", "grade"]] = "share"
    """Whether it says 0 or 1, or what lies between them too."""

    @property
    def columns(self) -> Sequence[str]:
        """What every prompt's row must say."""
        return ()

    def unfit(self, meta: Mapping[str, Any]) -> str | None:
        """What is wrong with a row that has all the columns; None: nothing."""
        return None


class OfColumn(OfAnswer):
    """What the rules share that compare the answer with a column of the prompt's row."""

    column: str = Field(default="answer", min_length=1)
    """The column that holds the right answer: text, a number, or a list of them, of which each is right."""
    after: str | None = Field(default=None, min_length=1)
    """Only what stands after the last of these texts is compared, for example "####". An answer without it is wrong; a
    right answer without it is taken whole."""

    @property
    def columns(self) -> Sequence[str]:
        return (self.column,)

    def unfit(self, meta: Mapping[str, Any]) -> str | None:
        value = meta[self.column]
        listed = value if isinstance(value, list) else [value]
        if listed and all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in listed):
            return None
        return f'"{self.column}" is neither text nor a number nor a list of them'

    def right(self, prompt: Prompt) -> list[str]:
        """Every text that is right."""
        value = prompt.meta[self.column]
        return [self._cut(str(each)) or str(each) for each in (value if isinstance(value, list) else [value])]

    def given(self, answer: Completion) -> str | None:
        """What was answered; None where the answer lacks the mark."""
        return self._cut(answer.text)

    def _cut(self, text: str) -> str | None:
        if self.after is None:
            return text
        return text.rpartition(self.after)[2] if self.after in text else None


class Exact(OfColumn):
    """1 where the answer is the right one."""

    compare: Literal["text", "last_number"] = "text"
    """All of the text, but for case, spaces and the punctuation around it; or the last number in it."""

    def unfit(self, meta: Mapping[str, Any]) -> str | None:
        found = super().unfit(meta)
        if found or self.compare == "text":
            return found
        right = self.right(Prompt(id="", messages=(), meta=meta))
        wrong = next((each for each in right if last_number(each) is None), None)
        return None if wrong is None else f'no number in "{self.column}" ({wrong[:40]})'

    def check(self, base: Path) -> Check:
        read = last_number if self.compare == "last_number" else normalised

        def said(prompt: Prompt, answer: Completion) -> float:
            given = self.given(answer)
            found = None if given is None else read(given)
            return float(found is not None and found in [read(each) for each in self.right(prompt)])

        return said


class Maths(OfColumn):
    """1 where the answer is mathematically the same as the right one, written as text or LaTeX: math-verify decides."""

    endless: ClassVar[bool] = True

    def check(self, base: Path) -> Check:
        same: Callable[[str, str], bool] = import_module("burnish.rewards.maths").same

        def said(prompt: Prompt, answer: Completion) -> float:
            given = self.given(answer)
            return float(given is not None and any(same(right, given) for right in self.right(prompt)))

        return said


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern, re.DOTALL)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"no regular expression ({error})") from None
    return pattern


class Pattern(OfAnswer):
    """1 where the answer contains something that the expression describes."""

    endless: ClassVar[bool] = True
    pattern: Annotated[str, Field(min_length=1), AfterValidator(_compiles)]
    """A regular expression as Python has them; a dot is any character, a line's end as well."""

    def check(self, base: Path) -> Check:
        find = self._compiled().search
        return lambda prompt, answer: float(find(answer.text) is not None)

    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.DOTALL)


class Format(Pattern):
    """1 where the expression describes the whole answer, but for spaces around it."""

    def check(self, base: Path) -> Check:
        match = self._compiled().fullmatch
        return lambda prompt, answer: float(match(answer.text.strip()) is not None)


class Length(OfAnswer):
    """1 where the answer is neither too short nor too long. For a target, `least` and `most` are the same."""

    scale: ClassVar[Literal["share", "grade"]] = "grade"
    unit: Literal["words", "tokens", "characters"] = "words"
    least: int | None = Field(default=None, ge=0)
    most: int | None = Field(default=None, ge=0)
    slack: int = Field(default=0, ge=0)
    """Over so many units outside, 1 falls to 0 on a line."""

    @model_validator(mode="after")
    def _has_ends(self) -> Length:
        if self.least is None and self.most is None:
            raise ValueError("neither least nor most is given")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least is {self.least} and most {self.most}")
        return self

    def check(self, base: Path) -> Check:
        return lambda prompt, answer: self._of(self._units(answer))

    def _of(self, units: int) -> float:
        outside = max((self.least or 0) - units, 0 if self.most is None else units - self.most, 0)
        return max(0.0, 1 - outside / self.slack) if self.slack else float(not outside)

    def _units(self, answer: Completion) -> int:
        match self.unit:
            case "words":
                return len(words(answer.text))
            case "tokens":
                return len(answer.ids)
            case "characters":
                return len(answer.text)


class Language(OfAnswer):
    """1 where the answer is clearly in the language: py3langid decides."""

    code: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None
    """The language's code (ISO 639, of two letters where there is one), such as fr. Absent: the prompt's language, that
    of its column `language` (a tag such as pt-BR will do) or of the user's last turn. Where that is none that is known,
    the rule says nothing."""
    sure: float = Field(default=0.3, gt=0, lt=1)
    """The probability, among all languages, from which a text is clearly in one. A few words seldom have more."""

    def unfit(self, meta: Mapping[str, Any]) -> str | None:
        tag = meta.get("language")
        if self.code or not tag or primary_tag(str(tag)):
            return None
        return f'"language" is {str(tag)[:40]!r}, and no tag such as de or pt-BR'

    def check(self, base: Path) -> Check:
        languages = import_module("burnish.rewards.languages")
        if self.code:
            languages.require(self.code)

        def asked_for(prompt: Prompt) -> str | None:
            tag = self.code or prompt.meta.get("language")
            return languages.named(str(tag)) if tag else languages.spoken(prompt.asked, self.sure)

        def said(prompt: Prompt, answer: Completion) -> float | None:
            wanted = asked_for(prompt)
            return None if wanted is None else float(languages.spoken(answer.text, self.sure) == wanted)

        return said


class JsonSchema(OfAnswer):
    """1 where the whole answer is JSON, and as the schema has it."""

    endless: ClassVar[bool] = True
    file: str | None = Field(default=None, min_length=1)
    """A file with a JSON schema, which refers to nothing outside of it. Absent: any JSON will do."""

    def check(self, base: Path) -> Check:
        valid: Callable[[str], bool] = import_module("burnish.rewards.json_schema").validator(
            None if self.file is None else located(self.file, base)
        )
        return lambda prompt, answer: float(valid(answer.text))


class Gold(OfAnswer):
    """The total, from 0 to 1, of the gold rule over a shop's table of truth."""

    endless: ClassVar[bool] = True
    scale: ClassVar[Literal["share", "grade"]] = "grade"
    file: str = Field(min_length=1)
    """The table (YAML)."""

    @property
    def columns(self) -> Sequence[str]:
        return ("region",)

    def check(self, base: Path) -> Check:
        rubric = Rubric.load(located(self.file, base))
        return lambda prompt, answer: rubric.grade(prompt, answer.text).total


Rule = Exact | Maths | Format | Pattern | Length | Language | JsonSchema | Gold
"""Settings, and `check`, which makes of them the rule at work; the paths that they name start at its `base`."""
RULES: dict[str, type[Rule]] = {
    "exact": Exact,
    "math": Maths,
    "format": Format,
    "regex": Pattern,
    "length": Length,
    "language": Language,
    "json_schema": JsonSchema,
    "rubric": Gold,
}
"""By the name that a recipe calls each."""
