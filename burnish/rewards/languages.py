"""Which language a text is in, as py3langid sees it: 139 of them. Imported only where a recipe asks for it.

It goes by short runs of bytes, so that a handful of words is seldom sure, and it tells Malay and Indonesian badly apart
(docs/experiments.md). Numbers, code and faces are in no language.
"""

from __future__ import annotations

import re
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from burnish.errors import ConfigError, Problem, nearest


def require(code: str) -> None:
    """Raises ConfigError for a code that is not known."""
    known = _identifier().labels
    if code not in known:
        raise ConfigError(Problem("language.code", f"{code!r} is no language that is told apart", nearest(code, known)))


def named(tag: str) -> str | None:
    """The language of a tag such as pt-BR or pt_BR; None for one that is not told apart."""
    code = re.split("[-_]", tag)[0].lower()
    return code if code in _identifier().labels else None


def spoken(text: str, sure: float) -> str | None:
    """The language of a text as an ISO 639 code; None where none has a probability of `sure` or more."""
    code, probability = _identifier().classify(text)
    return code if probability >= sure else None


@cache
def _identifier() -> LanguageIdentifier:
    """Loaded once a process: it takes a second or two."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
