"""Mathematical equality, as math-verify and sympy see it. Imported only where a recipe asks for it, and only in a
process that can be stopped: sympy may compute for ever."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from math_verify import parse, verify

from burnish.errors import DataError, Problem

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own time limit is off: ours is on


@lru_cache(maxsize=4096)
def _right(text: str) -> Any:
    """What is to be found: the text is one expression, LaTeX or not. Raises DataError where no mathematics is in it."""
    found = parse(f"${text.strip()}$", parsing_timeout=0) or parse(text, parsing_timeout=0)
    if not found:
        raise DataError(Problem("", f"no mathematics in the right answer ({text[:60]})", "Mend the column."))
    return found


def same(right: str, given: str) -> bool:
    """Whether the last expression of `given` is the one in `right`. Raises DataError where `right` has none."""
    return verify(_right(right), parse(given, parsing_timeout=0), timeout_seconds=None)
