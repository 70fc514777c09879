"""Surface measures of a text: words, sentences, repetition, borrowed runs, which language. Knows no shop and no model.

The language guess counts function words of three languages, those of the gold rule's shop, and needs no package. It
says None when it is not sure: of a text in a fourth language too. Answers are paid by `burnish.rewards.languages`.
"""

from __future__ import annotations

import re
from collections import Counter

from burnish.stats.repetition import grams

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,]\d+)*")
_SENTENCE = re.compile(r"[.?!…]+[\"”»’)]*(?=\s|$)")
_ENDING = re.compile(r"[.?!…:][\"”»’)]*\s*$")

_LISTS = {
    "en": """
        a about after all also an and any are as at be been before but by can can't cannot could do does don't
        for from get had has have here how i i'd i'll i'm if in into is it it's its just like me more my no not
        of off on once one only or our out own so some such than that the their them then there they this those
        to too until up us was we we'll were what when which while who will with within won't would you you'll
        you're your yours
    """,
    "es": """
        a al algo aquí así aunque aún cada como con cual cuando cuál cuánto de del desde donde dos el ella en
        entre es ese eso esta este esto está están fue ha hasta hay la las le les lo los luego me mi mucho muy
        más ni no nos nuestra nuestras nuestro nuestros o para pero por porque puede puedo que quien qué se sea
        ser si sin sobre solo son su sus sí también tan tiene todo todos tras tu un una uno usted y ya yo
    """,
    "de": """
        aber alle alles als am an auch auf aus bei beim bis damit dann das dass daß dem den denn der des die
        diese diesen dieser dieses doch ein eine einem einen einer eines er es für ganz gern gerne haben hat
        hier ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in innerhalb ist ja kann kein keine keinen können
        man mit möchten nach nicht noch nun nur ob oder ohne schon sehr sein sich sie sind so sobald sollte um
        und uns unser unsere unseren unserer vom von vor war was wenn werden wie wieder wir wird zu zum zur
        zwischen über
    """,
}
_FUNCTION_WORDS = {language: frozenset(listed.split()) for language, listed in _LISTS.items()}


def words(text: str) -> list[str]:
    """Lower-cased words and numbers, in order."""
    return [found.replace("’", "'") for found in _WORD.findall(text.lower())]


def sentences(text: str) -> int:
    """How many sentences end in the text; an unfinished last one counts too."""
    ended = len(_SENTENCE.findall(text.strip()))
    return ended if _ENDING.search(text) else ended + 1


def ends_as_sentence(text: str) -> bool:
    return _ENDING.search(text) is not None


def borrowed_share(tokens: list[str], source: list[str], n: int = 4) -> float:
    """Share of the text's n-word runs that stand in `source` as well: 1 for a copy, 0 where there are no such runs."""
    runs = grams(tokens, n)
    theirs = set(grams(source, n))
    return sum(run in theirs for run in runs) / len(runs) if runs else 0.0


def function_share(tokens: list[str]) -> float:
    """Share of function words, in the language that has most of them: about 0.3 to 0.6 in prose, little in keywords."""
    return max(_hits(tokens).values()) / len(tokens) if tokens else 0.0


def guess_language(text: str) -> str | None:
    """ "en", "es", "de", or None where no language has clearly more function words than the others."""
    (best, most), (_, next_most), *_ = Counter(_hits(words(text))).most_common()
    return best if most >= 2 and most > 1.5 * next_most else None


def _hits(tokens: list[str]) -> dict[str, int]:
    return {language: sum(token in known for token in tokens) for language, known in _FUNCTION_WORDS.items()}
