"""Lists of languages, so that an item finds people who read it. Knows primary tags only: fr-CA and FR are fr."""

from __future__ import annotations

import re

from burnish.errors import Problem, Said, StoreError
from burnish.records.languages import language


def languages(text: str) -> list[str]:
    """Tags from a list with commas or spaces, sorted. Raises StoreError for a word that is no tag."""
    words = re.split(r"[\s,;]+", text.strip()) if text.strip() else []
    tags = {word: language(word) for word in words}
    if wrong := [word for word, tag in tags.items() if tag is None]:
        found = Said("“%(word)s” is not the tag of a language", word=wrong[0])
        raise StoreError(Problem("languages", found, "Write tags of two or three letters, for example: en, fr, es."))
    return sorted({tag for tag in tags.values() if tag})
