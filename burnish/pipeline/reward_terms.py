"""What answers are paid by: the settings of `rewards` in a stage that samples, in evaluate, or in a file of their own,
and what they ask of files and prompts. Knows kinds of reward; computes none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from burnish.config import Strict, load_yaml, validate
from burnish.errors import BurnishError, ConfigError, MachineError, Problem, nearest
from burnish.records.files import located
from burnish.rewards.combination import HELD_OUT, SURE
from burnish.rewards.function import required_columns
from burnish.rewards.rules import RULES, Exact, Format, Gold, JsonSchema, Language, Length, Maths, Pattern, Rule
from burnish.types import Prompt

KINDS = ("model", "judge", "python", *RULES)
_PACKAGES = {"math": "math_verify", "json_schema": "jsonschema", "language": "py3langid"}
"""What a kind imports beyond burnish's own needs."""


class Learned(Strict):
    """A reward model, or several that were trained together (`reward.members`)."""

    folder: str | None = Field(default=None, min_length=1)
    """The model folder of another run's reward stage, or a published reward model: its folder or Hub id. Absent: the
    reward model of this run."""
    combine: Literal["mean", "worst", "mean_less_spread"] = "mean"
    """What several models say together: the mean of their scores, the lowest, or the mean less `spread_coef` standard
    deviations. Each model's scores have mean 0 and standard deviation 1 on answers of the data it learned from."""
    spread_coef: float | None = Field(default=None, gt=0)
    """Absent: 1."""

    @model_validator(mode="after")
    def _reads(self) -> Learned:
        if self.spread_coef is not None and self.combine != "mean_less_spread":
            raise ValueError(f"spread_coef is set, and {self.combine} does not read it")
        return self


class Judge(Strict):
    """A model that is asked how good an answer is."""

    model: str = Field(min_length=1)
    """A built-in alias, a Hub id, a folder, or the address of a server."""
    criteria: str = Field(min_length=1)
    """What makes an answer good, in a sentence that the judge is told."""
    by: Literal["grade", "comparison"] = "grade"
    """A grade from 0 to 10, divided by 10, of each answer by itself; or the share that it wins of comparisons with the
    prompt's other answers, each asked in both orders."""


class Function(Strict):
    """A Python function of yours, `f(prompts, completions, **columns)`, which returns a number or None an answer."""

    file: str = Field(min_length=1)
    """The file that has it. It runs with your rights: name only what you would run yourself."""
    function: str = Field(min_length=1)


class RewardTerm(Strict):
    """One of the things that answers are paid by. Exactly one kind is named."""

    model: Learned | None = None
    judge: Judge | None = None
    exact: Exact | None = None
    math: Maths | None = None
    format: Format | None = None
    regex: Pattern | None = None
    length: Length | None = None
    language: Language | None = None
    json_schema: JsonSchema | None = None
    rubric: Gold | None = None
    python: Function | None = None
    weight: float = 1.0
    """What its score is multiplied by before all are added. Below 0 it is a penalty; 0: not paid for, and recorded."""
    name: str | None = Field(default=None, pattern=r"^[a-z0-9_-]+$")
    """What it is called in metrics and samples. Absent: its kind, or the function's name."""

    @model_validator(mode="after")
    def _is_one(self) -> RewardTerm:
        named = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(named) != 1:
            found = " and ".join(named) if named else "none"
            raise ValueError(f"one kind of reward is wanted, of {', '.join(KINDS)}; found {found}")
        return self

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the kinds that it is not and what they leave open: what is new tomorrow changes no key of today."""
        said = {name: value for name, value in handler(self).items() if value is not None}
        said[self.kind] = {name: value for name, value in said[self.kind].items() if value is not None}
        return said

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def label(self) -> str:
        return self.name or (self.python.function if self.python else self.kind)

    @property
    def of_this_run(self) -> bool:
        """Whether it is the reward model that this recipe trains."""
        return self.model is not None and self.model.folder is None

    @property
    def rule(self) -> Rule | None:
        return getattr(self, self.kind) if self.kind in RULES else None

    def columns(self, base: Path) -> Sequence[str]:
        """What every prompt's row must say. Raises ConfigError for a file without the function."""
        if self.python:
            return required_columns(located(self.python.file, base), self.python.function)
        return self.rule.columns if self.rule else ()


def _fit_together(terms: tuple[RewardTerm, ...]) -> tuple[RewardTerm, ...]:
    labels = [term.label for term in terms]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise ValueError(f'two rewards are called "{twice}"; give one of them a name')
    kept = next((label for label in labels if label in (HELD_OUT, SURE)), None)
    if kept:
        raise ValueError(f'"{kept}" is what a watch goes by; give the reward another name')
    if not any(term.weight for term in terms):
        raise ValueError("all weights are 0, so that nothing is paid for")
    return terms


RewardTerms = Annotated[tuple[RewardTerm, ...], Field(min_length=1), AfterValidator(_fit_together)]


class RewardList(Strict):
    """A file of rewards, for what has no recipe."""

    rewards: RewardTerms
    """What answers are chosen by, added up by weight."""


def listed(path: Path) -> RewardTerms:
    """The rewards of a YAML file, as a section of a recipe lists them.

    Raises ConfigError with every problem of the file; one is the reward model of a run, which such a file has not.
    """
    document = load_yaml(path)
    terms = validate(RewardList, document).rewards
    mend = "Name one by its folder, for example {model: {folder: runs/scored/reward/model}}."
    problems = [
        Problem(document.where(("rewards", place)), "the reward model of this run is meant, and there is no run", mend)
        for place, term in enumerate(terms)
        if term.of_this_run
    ]
    if problems:
        raise ConfigError(*problems)
    return terms


def require_packages(terms: Sequence[RewardTerm]) -> None:
    """Raises MachineError where a kind's package is not installed."""
    problems = [
        Problem(term.label, f"needs the package {_PACKAGES[term.kind]}", "Try: pip install 'burnish[rules]'")
        for term in terms
        if term.kind in _PACKAGES and find_spec(_PACKAGES[term.kind]) is None
    ]
    if problems:
        raise MachineError(*problems)


def reward_folder(named: Path) -> Path:
    """The folder of a reward model that is named by itself or by the run that made it."""
    inside = named / "reward" / "model"
    return inside if inside.is_dir() else named


def check_file(term: RewardTerm, base: Path) -> None:
    """Raises DataError or ConfigError for a schema or a table that cannot be used, a language that nobody tells apart,
    or a run in place of its reward model. A rule that may never end is not asked anything here, and a function's file
    is not run."""
    if term.model and term.model.folder:
        folder = located(term.model.folder, base)
        if (inside := reward_folder(folder)) != folder:
            found = "a run, where the folder of a reward model is wanted"
            raise ConfigError(Problem(str(folder), found, f"Set folder: {inside}"))
    rule = term.json_schema or term.rubric or term.language
    if rule:
        rule.check(base)


def unfit(terms: Sequence[RewardTerm], base: Path, prompts: Sequence[Prompt]) -> list[Problem]:
    """What is wrong with functions' files, and with the columns of prompts that the rewards read."""
    problems: list[Problem] = []
    for term in terms:
        try:
            columns = term.columns(base)
        except BurnishError as error:
            problems += error.problems
        else:
            problems += _unfit_rows(term, columns, prompts)
    return problems


def _unfit_rows(term: RewardTerm, columns: Sequence[str], prompts: Sequence[Prompt]) -> Iterator[Problem]:
    for prompt in prompts:
        missing = next((column for column in columns if column not in prompt.meta), None)
        if missing is not None:
            near = nearest(missing, list(prompt.meta)) if prompt.meta else "The row has no other columns."
            yield Problem(prompt.id, f'"{missing}" is missing, which the reward {term.label} reads', near)
        elif term.rule and (found := term.rule.unfit(prompt.meta)):
            yield Problem(prompt.id, f"{found}, which the reward {term.label} compares with")
