"""In which words a server takes a request for a chat completion, and what its refusals teach of that. Asks nobody.

No server takes all that OpenAI's API and vLLM's additions know, and some take nothing else. So all is said at first,
also that nothing is to be cut off the model's own probabilities: else a server's own settings would count in silence,
llama.cpp's, or what vLLM finds in a generation_config.json. What is refused is left out where it asks for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from burnish.endpoints.reply import Refused
from burnish.types import Sampling

ROOM = 8192
"""Tokens for the thoughts of a model that has spent its budget on them, and answered nothing."""
LEAST_ROOM = 512
ALL = 1 << 30
"""A top_k beyond every vocabulary. Servers that know one take it; 0 and -1 some call mistakes."""
_SEEDS = 2**31
"""llama.cpp's are 32 bits wide, others' 64."""
_WORDING = frozenset({400, 422, 500})
"""Statuses of a request that other words may mend."""
_ADDED = frozenset({"top_k", "min_p", "repetition_penalty", "repeat_penalty", "seed", "n", "stop"})
"""What not every server knows. Where one does not say what it refuses, it is asked without all of these."""
_OTHER_BUDGET = re.compile(r"max_completion_tokens\W+instead")
_UNDONE = re.compile("max_tokens or model output limit was reached")
"""Of models that think: the budget did not reach for an answer."""
_LEAST = re.compile(r"below minimum value.{0,40}(?:>|\\u003e)= ?(\d+)")
_TOO_MUCH = re.compile(r"max_(completion_|output_|new_)?tokens|context|maximum")
_USUAL = {
    "temperature": "temperature=1",
    "top_p": "top_p=1",
    "top_k": "no top_k",
    "min_p": "no min_p",
    "repetition_penalty": "no repetition_penalty",
}
"""Of each setting, how to ask for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one server is known to take."""

    left_out: frozenset[str] = frozenset()
    """Settings that it does not know. They are left out where they ask for nothing."""
    budget: str = "max_tokens"
    """Its name for the most tokens of an answer."""
    room: int = 0
    """Tokens more than are asked for: for thoughts, or what a server wants at least."""

    @property
    def thinks(self) -> bool:
        """Whether there is room for thoughts."""
        return self.room >= LEAST_ROOM

    def body(self, sampling: Sampling, n: int = 1, *, logprobs: bool = False) -> dict[str, Any]:
        """All of a request but model and messages."""
        special = {
            # llama.cpp's and LM Studio's word for it, who know no other; of 1 they are by themselves
            "repeat_penalty": sampling.repetition_penalty if sampling.repetition_penalty != 1 else None,
            "stop": list(sampling.stop) or None,
            "logprobs": logprobs or None,
            "n": n if n > 1 else None,
        }
        wanted = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or ALL,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": sampling.seed % _SEEDS,
            self.budget: sampling.max_new_tokens + self.room,
            **{name: value for name, value in special.items() if value is not None},
        }
        return {name: value for name, value in wanted.items() if name not in self.left_out & _free(sampling)}

    def after(self, refusal: Refused, sampling: Sampling, n: int) -> Dialect | None:
        """How to ask for the same again; None where there is no other way."""
        if refusal.status not in _WORDING:
            return None
        words = refusal.words
        if self.budget == "max_tokens" and _OTHER_BUDGET.search(words):
            return replace(self, budget="max_completion_tokens")
        if undone(refusal):
            return None if self.thinks else self.roomier
        if least := _LEAST.search(words):
            short = int(least[1]) - sampling.max_new_tokens - self.room
            return replace(self, room=self.room + short) if short > 0 else None
        if self.thinks and _TOO_MUCH.search(words):
            return replace(self, room=self.room // 2) if self.room > LEAST_ROOM else None
        sent = self.body(sampling, n).keys() & _free(sampling)
        named = {name for name in sent if _says(words, name)}
        # Claude takes a temperature or a top_p, and names both: of what is named, the lesser goes first.
        more = named - {"temperature", "top_p"} or named - {"temperature"} or named or sent & _ADDED
        return replace(self, left_out=self.left_out | more) if more else None

    @property
    def roomier(self) -> Dialect:
        return replace(self, room=ROOM)


@dataclass(slots=True)
class Known:
    """The dialect of a model's server as far as it is known, for all who ask it."""

    dialect: Dialect = Dialect()


def undone(refusal: Refused) -> bool:
    """Whether the model had no tokens left for an answer."""
    return _UNDONE.search(refusal.words) is not None


def instead(refusal: Refused, sampling: Sampling) -> str:
    """A mend: what to ask for in place of what a recipe asks for, and this server does not take. Empty where it names
    nothing of that."""
    named = [usual for name, usual in _USUAL.items() if name not in _free(sampling) and _says(refusal.words, name)]
    return f"Ask for {', '.join(named)}." if named else ""


def unheard(sampling: Sampling) -> list[str]:
    """What is asked for that is none of OpenAI's API, so that a server may pass over it."""
    return [name for name in ("top_k", "min_p", "repetition_penalty") if name not in _free(sampling)]


def _free(sampling: Sampling) -> set[str]:
    """What may be left out: it asks for nothing, or another way is left. A temperature of 0 is what judges are asked at
    where nobody says otherwise, and the server's own is better than no judgement."""
    said = {
        "temperature": sampling.temperature in (0, 1),
        "top_p": sampling.top_p == 1,
        "top_k": sampling.top_k is None,
        "min_p": sampling.min_p == 0,
        "repetition_penalty": sampling.repetition_penalty == 1,
    }
    return {"repeat_penalty", "seed", "n", "stop"} | {name for name, free in said.items() if free}


def _says(words: str, name: str) -> bool:
    """Whether a server's words name a setting. One of a single letter stands apart, or is said in words."""
    apart = rf"['\"`]{name}\\?['\"`]|\b{name}: |completion choice" if name == "n" else rf"\b{name}\b"
    return re.search(apart, words) is not None
