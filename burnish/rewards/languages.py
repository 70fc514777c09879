"""Which language a text is in, as py3langid sees it: 133 of them. Imported only where a recipe asks for it.

It goes by short runs of bytes, so that a handful of words is seldom sure, and close relatives are told badly apart:
Malay and Indonesian (docs/experiments.md), Bosnian, Croatian and Serbian. Numbers, code and faces are in no language.
"""

from __future__ import annotations

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from burnish.errors import ConfigError, Problem, nearest
from burnish.records.languages import language as primary_tag

_NONE = "zxx"
"""What is no language."""
_WIDER = {"arz": "ar", "ary": "ar", "wuu": "zh", "yue": "zh", "nb": "no", "nn": "no", "uzs": "uz"}
"""Spoken varieties and written forms that are called by the language that they belong to."""


def require(code: str) -> None:
    """Raises ConfigError for a code that is not known."""
    if named(code) is None:
        found, mend = f"{code!r} is no language that is told apart", nearest(code, sorted(_known()), cutoff=1)
        raise ConfigError(Problem("language.code", found, mend))


def named(tag: str) -> str | None:
    """The language of a tag such as pt, pt-BR or pt_BR; None for one that is not told apart."""
    code = primary_tag(tag) or ""
    wider = _WIDER.get(code, code)
    return wider if wider in _known() else None


def spoken(text: str, sure: float) -> str | None:
    """The language of a text as an ISO 639 code; None where none has a probability of `sure` or more."""
    code, probability = _identifier().classify(text)
    return _WIDER.get(code, code) if probability >= sure and code != _NONE else None


@cache
def _known() -> frozenset[str]:
    labels: list[str] = _identifier().labels
    return frozenset(_WIDER.get(code, code) for code in labels) - {_NONE}


@cache
def _identifier() -> LanguageIdentifier:
    """Loaded once a process: it takes a second or two."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
