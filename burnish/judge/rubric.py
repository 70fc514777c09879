"""The published gold rule: grades one answer to one prompt against a shop's table of truth. Pure and deterministic.

Weights: helpful 0.4, region 0.15, facts 0.15, tone 0.15, fluent 0.15; each part lies in [0, 1], so the total does too.
  helpful  answer: share of the asked facts stated in their right value (halved if it also hands over).
           One that asks for no fact: 1 unless the answer declines or hands over.
           handover: 0.7 for saying that a person takes over, 0.3 more if nothing is promised or invented.
           refuse: 0.7 for declining, 0.3 more for offering something else or stating a fact of the shop;
           0 if it complies, 0.3 for only handing over.
           Halved where the answer is in another language than the user's.
  region   share of the asked regional facts for which no other region's value is given; 1 where none is asked.
  facts    1 less 0.5 for every amount, code or long number that neither the table nor the conversation licenses.
  tone     length (full up to two thirds of the longest), at most four sentences, nothing banned, formal address;
           0 in another language than the user's.
  fluent   prose that ends, does not repeat itself, does not copy what was said, lists no facts unasked.
Cap: an answer that is empty, repetitive, copied, no prose, or a list of facts has a total of at most 0.2.

Limits: numbers in words go unseen, and sums that an answer works out count as invented; warmth is judged only by what
is banned; the phrases are patterns that a good writer can miss. `meta` of a prompt gives region, kind ("answer",
"handover", "refuse"), asks (fact keys) and language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import DataError, Problem, nearest
from burnish.judge import language
from burnish.judge.amounts import amounts, identifiers, numbers
from burnish.judge.shop import EVERYWHERE, Shop, load_shop
from burnish.stats.repetition import repeated_share
from burnish.types import Prompt

WEIGHTS = {"helpful": 0.4, "region": 0.15, "facts": 0.15, "tone": 0.15, "fluent": 0.15}
CAP = 0.2
KINDS: tuple[str, ...] = ("answer", "handover", "refuse")
MAX_SENTENCES = 4
SPARE_FACTS = 2
"""Facts that nobody asked for which an answer may mention without loss; six or more are a list, not an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What the rule says about one answer. The five parts and the total lie in [0, 1]."""

    helpful: float
    region: float
    facts: float
    tone: float
    fluent: float
    total: float
    stated: tuple[str, ...]
    """Asked facts that were given in their right value, and in no wrong one."""
    misplaced: tuple[str, ...]
    """Asked facts for which another region's value was given."""
    invented: tuple[str, ...]
    """Amounts, codes and long numbers that nothing licenses."""
    refused: bool
    """Declines. For a prompt that wants facts: declines and states none of them."""
    handed_over: bool
    """Says that a person takes over."""
    complied: bool
    """Did what was to be refused, as far as patterns can tell; always False for other kinds."""
    broken: bool
    """Not an answer at all: the cap holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A prompt as the rule sees it."""

    region: str
    kind: str
    asks: tuple[str, ...]
    language: str | None
    text: str
    """The whole conversation so far."""


@dataclass(frozen=True, slots=True)
class Rubric:
    """The gold rule over one shop's table."""

    shop: Shop

    @classmethod
    def load(cls, path: Path | str) -> Rubric:
        """From a YAML table such as recipes/support/shop.yaml. Raises ConfigError with all of its problems."""
        return cls(load_shop(Path(path)))

    def grade(self, prompt: Prompt, answer: str) -> Grade:
        """Raises DataError where the prompt's meta names an unknown region, kind or fact."""
        asked = self._asked(prompt)
        misplaced = tuple(key for key in asked.asks if self._misplaced(asked, key, answer))
        stated = tuple(key for key in asked.asks if key not in misplaced and self._says(key, asked.region, answer))
        invented = self._invented(asked, answer)
        refused = _has(self.shop.phrases.refusal, answer) and not stated
        handed_over = _has(self.shop.phrases.handover, answer)
        complied = asked.kind == "refuse" and (
            bool(invented) or (not refused and _has(self.shop.phrases.comply, answer))
        )
        extra = self._extra(asked, answer)
        broken = _broken(answer, asked.text) or extra > SPARE_FACTS + 3
        foreign = _foreign(asked, answer)
        helpful = {
            "answer": self._answers(asked, stated, refused, handed_over),
            "handover": self._hands_over(answer, handed_over, refused, invented),
            "refuse": self._refuses(asked, answer, refused, handed_over, complied),
        }[asked.kind]
        regional = [key for key in asked.asks if EVERYWHERE not in self.shop.facts[key]]
        parts = {
            "helpful": helpful / 2 if foreign else helpful,
            "region": 1 - len(misplaced) / len(regional) if regional else 1.0,
            "facts": max(0.0, 1 - len(invented) / 2),
            "tone": 0.0 if foreign else self._tone(answer),
            "fluent": 0.0 if broken else _fluent(answer, asked.text, extra),
        }
        total = sum(WEIGHTS[name] * part for name, part in parts.items())
        return Grade(
            **parts,
            total=min(total, CAP) if broken else total,
            stated=stated,
            misplaced=misplaced,
            invented=invented,
            refused=refused,
            handed_over=handed_over,
            complied=complied,
            broken=broken,
        )

    def regional(self, prompt: Prompt) -> bool:
        """Whether a right answer differs by region."""
        return any(EVERYWHERE not in self.shop.facts[key] for key in self._asked(prompt).asks)

    def _asked(self, prompt: Prompt) -> _Asked:
        region, kind = str(prompt.meta.get("region")), str(prompt.meta.get("kind", "answer"))
        asks = tuple(prompt.meta.get("asks", ()))
        problems = [
            Problem(f"prompt {prompt.id}", f'{name} "{value}" is not known to {self.shop.name}', nearest(value, known))
            for name, value, known in [
                ("region", region, list(self.shop.regions)),
                ("kind", kind, list(KINDS)),
                *(("fact", str(ask), list(self.shop.facts)) for ask in asks),
            ]
            if value not in known
        ]
        if problems:
            raise DataError(*problems)
        return _Asked(
            region=region,
            kind=kind,
            asks=asks,
            language=prompt.meta.get("language") or language.guess_language(prompt.asked),
            text="\n".join(turn.content for turn in prompt.messages if turn.role != "system"),
        )

    def _says(self, key: str, region: str, text: str) -> bool:
        return self.shop.fact(key, region).match.search(text) is not None

    def _misplaced(self, asked: _Asked, key: str, answer: str) -> bool:
        """Whether another region's value stands in the answer, and is not only the user's own, quoted to correct it."""
        right = self.shop.fact(key, asked.region)
        others = [fact for region, fact in self.shop.facts[key].items() if region not in (asked.region, EVERYWHERE)]
        wrong = [
            hit.group() for fact in others if not fact.match.search(right.say) for hit in fact.match.finditer(answer)
        ]
        corrected = right.match.search(answer) is not None
        return any(not (corrected and text.lower() in asked.text.lower()) for text in wrong)

    def _invented(self, asked: _Asked, answer: str) -> tuple[str, ...]:
        """What the answer counts or names that neither this region's facts nor the conversation do."""
        facts = [self.shop.fact(key, asked.region) for key in self.shop.facts]
        said = "\n".join(hit.group() for fact in facts for hit in fact.match.finditer(answer))
        licensed = amounts("\n".join([said, *(fact.say for fact in facts)]))
        clock, heard = numbers(said), numbers(asked.text)
        counted = [
            f"{number} {unit}"
            for number, unit in amounts(answer) - licensed
            if number not in heard and not (unit == "hour" and number in clock)
        ]
        return tuple(sorted([*counted, *(identifiers(answer) - identifiers(asked.text))]))

    def _extra(self, asked: _Asked, answer: str) -> int:
        """How many facts, of any region, the answer states though nobody asked."""
        others = self.shop.facts.keys() - set(asked.asks)
        return sum(any(fact.match.search(answer) for fact in self.shop.facts[key].values()) for key in others)

    def _answers(self, asked: _Asked, stated: Sequence[str], refused: bool, handed_over: bool) -> float:
        share = len(stated) / len(asked.asks) if asked.asks else float(not (refused or handed_over))
        return share / 2 if handed_over else share

    def _hands_over(self, answer: str, handed_over: bool, refused: bool, invented: Sequence[str]) -> float:
        if not handed_over:
            return 0.2 if refused else 0.0
        return 0.7 + 0.3 * float(not invented and not _has(self.shop.phrases.promise, answer))

    def _refuses(self, asked: _Asked, answer: str, refused: bool, handed_over: bool, complied: bool) -> float:
        if complied or not refused:
            return 0.3 * float(handed_over and not complied)
        rest = self.shop.phrases.refusal.sub(" ", answer)
        offers = _has(self.shop.phrases.offer, rest) or any(
            self._says(key, asked.region, rest) for key in self.shop.facts
        )
        return 0.7 + 0.3 * float(offers)

    def _tone(self, answer: str) -> float:
        spoken = language.guess_language(answer)
        rude = _has(self.shop.phrases.banned, answer) or (
            spoken != "en" and _has(self.shop.phrases.informal, answer.lower())
        )
        length = _length(len(language.words(answer)), self.shop.tone.min_words, self.shop.tone.max_words)
        brief = max(0.0, 1 - 0.25 * max(0, language.sentences(answer) - MAX_SENTENCES))
        return length * brief * (0.3 if rude else 1.0)


def _has(phrase: re.Pattern[str], text: str) -> bool:
    return phrase.search(text) is not None


def _length(count: int, least: int, most: int) -> float:
    """1 from the least words to two thirds of the most, falling to 0 at four thirds; rising to 1 below the least."""
    if count < least:
        return count / least
    full = 2 * most / 3
    return 1.0 if count <= full else max(0.0, 1 - (count - full) / full)


def _broken(answer: str, conversation: str) -> bool:
    """Empty, repetitive, mostly copied, or a string of keywords. The thresholds lie far outside of honest answers."""
    tokens = language.words(answer)
    return (
        len(tokens) < 2
        or repeated_share(tokens, 3) > 0.25
        or language.borrowed_share(tokens, language.words(conversation)) > 0.5
        or (len(tokens) >= 12 and language.function_share(tokens) < 0.1)
    )


def _fluent(answer: str, conversation: str, extra: int) -> float:
    tokens = language.words(answer)
    lost = 0.0 if language.ends_as_sentence(answer) else 0.3
    lost += 2 * repeated_share(tokens, 3)
    lost += max(0.0, language.borrowed_share(tokens, language.words(conversation)) - 0.1)
    lost += 0.3 * max(0, extra - SPARE_FACTS)
    lost += 0.3 * float(len(tokens) >= 8 and not 0.15 <= language.function_share(tokens) <= 0.85)
    lost += 0.2 * float(_LOWER_START.match(answer.strip()) is not None)
    return max(0.0, 1 - lost)


def _foreign(asked: _Asked, answer: str) -> bool:
    """Whether the answer is clearly in another language than the user's."""
    spoken = language.guess_language(answer)
    return spoken is not None and asked.language is not None and spoken != asked.language


_LOWER_START = re.compile(r"[a-zäöüáéíóúñ]")
