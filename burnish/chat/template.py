"""A model's chat template as burnish sees it: role sequences in, text with numbered slots out. Knows no token ids.

The template never sees a message's content (see `sandbox`): it sees marks, and what it returns is cut at them into its
own text and slots. So contents can neither steer the template nor be mistaken for it, and a rendering depends on the
roles alone and is made once. The price: a template that looks into contents (Qwen3 drops `<think>…</think>` from
earlier answers) does not get to.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.chat import sandbox
from burnish.errors import DataError, ModelError, Problem
from burnish.types import Role

WALL_SECONDS = 60
"""The CPU limit of the child is what stops a template; this only bounds a machine that is not running it at all."""
SOURCE_CHARACTERS = 1 << 18
_MARK = re.compile('(\u2003?)\ue000([0-9]+)(\\\\?"|)\ue001(\u2003?)')
_OPENING = re.compile(r"<([\w:.-]+)>\s*\Z")
_CLOSING = re.compile(r"</([\w:.-]+)>")
_CLOCK = re.compile(r"""\bstrftime_now\(\s*(["'])([a-zA-Z%.,:/ -]*)\1\s*\)""")
_TURNS_AHEAD = 8
"""Conversations of up to so many turns are rendered in the first child, so that most uses need one child only."""

Key = tuple[tuple[Role, ...], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where the content of a message goes, and whether the template trims it on either side."""

    number: int
    trim_left: bool
    trim_right: bool
    escaped: bool = False
    """Whether the template writes it as JSON."""

    def fill(self, content: str) -> str:
        content = content.lstrip() if self.trim_left else content
        content = content.rstrip() if self.trim_right else content
        return json.dumps(content, ensure_ascii=False)[1:-1] if self.escaped else content


class Template:
    """A chat template that was found to make sense: it asks for an answer, and keeps every turn."""

    def __init__(self, source: str, names: Mapping[str, str], where: str) -> None:
        """`names` are the special tokens by name (`bos_token`, …); `where` is said in errors. Raises ModelError."""
        if len(source) > SOURCE_CHARACTERS:
            raise ModelError(Problem(where, f"a chat template of {len(source):,} characters; at most 262,144 are read"))
        self.source = source
        self.where = where
        self._names = dict(names)
        self._rendered: dict[Key, dict[str, str]] = {}
        self._fetch(_ahead())
        self.opened, self.lead, self.slot, self.tail, self.following = self._probe()

    opened: str
    """The end of the request for an answer, where it begins a thought that the template does not show again, or that
    `lead` closes (`<think>\\n`); mostly empty."""
    lead: str
    """Template text between the request for an answer and the answer itself; mostly empty."""
    slot: Slot
    """Where a final answer goes."""
    tail: str
    """Template text after a final answer; mostly the marker that ends the turn stands in it."""
    following: str
    """Template text between an answer and what a user says to it; empty where the template allows none."""

    def render(self, roles: Sequence[Role], *, ask: bool) -> list[str | Slot]:
        """The template's text and slots, in order. Raises ModelError, or DataError where the template refuses the
        order of the roles, or cannot show all turns in it."""
        return self._cut(roles, ask, DataError) if roles else [self._unasked()]

    def begun(self, content: str) -> tuple[str, str]:
        """How an answer goes on from the request: template text, and what of the content is to be said after it.

        The text is the lead. A content that brings its own thought (it holds the tag that the lead closes) takes the
        place of the lead's, which is empty; and what the request has opened is not opened again. So the ids of an
        answer that was sampled are those of its text. Where the tags are special tokens no content can bring them.
        """
        closing = _CLOSING.search(self.lead)
        if self.lead and not (closing and closing[0] in content):
            return self.lead, content
        tag = self.opened.rstrip()
        if tag and content.startswith(tag):
            return "", content.removeprefix(tag).removeprefix(self.opened[len(tag) :])
        opening = f"<{closing[1]}>" if closing else ""
        if opening and opening in self.lead and content.startswith(opening):
            return self.lead.partition(opening)[0], content
        return "", content

    @property
    def owed(self) -> str:
        """The tag that each answer has to bring, since the request opens what it closes and the template never does
        (`</think>`); mostly empty."""
        opening = None if self.lead else _OPENING.search(self.opened)
        return f"</{opening[1]}>" if opening else ""

    def texts(self) -> list[str]:
        """What the template was seen to write, for those who ask which tokens that takes."""
        return [_MARK.sub("", result["text"]) for result in self._rendered.values() if "text" in result]

    def _cut(self, roles: Sequence[Role], ask: bool, fault: type[ModelError | DataError]) -> list[str | Slot]:
        pieces = pieces_of(self._text(tuple(roles), ask))
        if lost := self.lost(roles, pieces):
            raise fault(lost)
        return pieces

    def lost(
        self, roles: Sequence[Role], pieces: Sequence[str | Slot], unmarked: Container[int] = ()
    ) -> Problem | None:
        """What became of the turns that are not found in their order among the pieces. `unmarked`: turns that have no
        content, and so no mark."""
        marked = [number for number in range(len(roles)) if number not in unmarked]
        lost = _lost(roles, marked, [piece.number for piece in pieces if isinstance(piece, Slot)])
        return (
            Problem(self.where, f"the chat template {lost} of {', '.join(roles)} without saying so") if lost else None
        )

    def views(self, conversations: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """What a child makes of conversations with tools (`sandbox`): a result a view, in order."""
        return self._ask([*conversations], sum(len(each["views"]) for each in conversations))

    def _unasked(self) -> str:
        """What stands before an answer that nothing was said before. Templates look at the first message, so that it
        is taken from one that shows the answer."""
        [before, *_] = _MARK.split(self._text(("assistant",), False))
        before = before.removesuffix(self.lead)
        return before if before.endswith(self.opened) else before + self.opened

    def _probe(self) -> tuple[str, str, Slot, str, str]:
        roles: tuple[Role, ...] = ("user", "assistant")
        asked = self._text(("user",), True)
        whole = self._text(roles, False)
        slot = [piece for piece in self._cut(roles, False, ModelError) if isinstance(piece, Slot)][-1]
        answer = [found for found in _MARK.finditer(whole) if found.group(2) == "1"][-1]
        opened, lead = self._request(asked, whole[: answer.start()])
        if asked == self._text(("user",), False) and (opened + lead).strip():
            raise ModelError(Problem(self.where, "the chat template ignores add_generation_prompt: it cannot ask"))
        if "error" not in self._rendered[("system", "user"), True]:
            self._cut(("system", "user"), True, ModelError)
        return opened, lead, slot, whole[answer.end() :], self._following()

    def _request(self, asked: str, shown: str) -> tuple[str, str]:
        """What the request opens, and what leads an answer that is `shown` after it."""
        if asked.startswith(shown):
            return asked.removeprefix(shown), ""
        common = asked if shown.startswith(asked) else asked.rstrip()
        lead = shown.removeprefix(common)
        closing = _CLOSING.search(lead)
        opened = re.search(rf"<{re.escape(closing[1])}>\s*\Z", asked) if closing else None
        if not shown.startswith(common) or (common != asked and not opened):
            raise ModelError(
                Problem(self.where, "the chat template asks for an answer in one way and shows it in another")
            )
        return opened[0] if opened else "", lead

    def _following(self) -> str:
        text = self._rendered[("user", "assistant", "user"), True].get("text", "")
        marks = {found.group(2): found for found in _MARK.finditer(text)}
        return text[marks["1"].end() : marks["2"].start()] if {"1", "2"} <= marks.keys() else ""

    def _text(self, roles: tuple[Role, ...], ask: bool) -> str:
        if (roles, ask) not in self._rendered:
            self._fetch([(roles, ask)])
        result = self._rendered[roles, ask]
        if "error" in result:
            raise self._failure(roles, result["error"], result["message"])
        return result["text"]

    def _failure(self, roles: tuple[Role, ...], kind: str, message: str) -> ModelError | DataError:
        if kind == "refused":
            return DataError(Problem(self.where, f"the chat template refuses the turns {', '.join(roles)}: {message}"))
        return ModelError(Problem(self.where, self.failed(kind, message)))

    @staticmethod
    def failed(kind: str, message: str) -> str:
        """What is said of a template that failed."""
        said = {
            "security": "the chat template reaches for what a template may not, and was stopped",
            "syntax": "the chat template is not Jinja that burnish knows",
            "undefined": "the chat template uses a name that nothing defines",
            "limit": "the chat template was stopped at a limit",
        }.get(kind, "the chat template failed")
        return f"{said} ({message})"

    def _fetch(self, keys: Sequence[Key]) -> None:
        asked = [{"roles": roles, "ask": ask} for roles, ask in keys]
        for key, result in zip(keys, self._ask(asked, len(keys)), strict=True):
            self._rendered[key] = result

    def _ask(self, conversations: Sequence[Any], count: int) -> list[dict[str, str]]:
        request = {"template": self.source, "names": self._names, "conversations": conversations}
        return _ask_child(request, count)


def pieces_of(text: str) -> list[str | Slot]:
    """What a template wrote, cut at its marks."""
    pieces: list[str | Slot] = []
    end = 0
    for found in _MARK.finditer(text):
        pieces.append(text[end : found.start()])
        left, number, quote, right = found.groups()
        pieces.append(
            Slot(number=int(number), trim_left=not left, trim_right=not right, escaped=quote.startswith("\\"))
        )
        end = found.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]


def pinned(source: str) -> str:
    """A template with the date in place of each question for it, so that other programs, which have a clock, render
    what was trained on. A call whose format is not written out at its place is left as it is."""
    return _CLOCK.sub(lambda call: f"{call[1]}{sandbox.TODAY.strftime(call[2])}{call[1]}", source)


def _lost(roles: Sequence[Role], marked: list[int], found: list[int]) -> str:
    """What became of the turns whose contents were not found in their order; empty where they were. What the system
    says may stand beside a later question."""
    said = [number for number in found if number >= len(roles) or roles[number] != "system"]
    if sorted(found) == marked and said == sorted(said):
        return ""
    lost = [f"{n + 1} ({roles[n]})" for n in marked if n not in found]
    return f"leaves out turn {', '.join(lost)}" if lost else "repeats or reorders the turns"


def _ahead() -> list[Key]:
    openings: tuple[tuple[Role, ...], ...] = ((), ("system",))
    turns: tuple[Role, ...] = ("user", "assistant") * (_TURNS_AHEAD // 2)
    keys: list[Key] = [((*opening, *turns[:n]), True) for opening in openings for n in range(1, _TURNS_AHEAD, 2)]
    return [(turns[:1], False), (turns[:2], False), *keys]


def _ask_child(request: dict[str, Any], count: int) -> list[dict[str, str]]:
    command = [sys.executable, "-I", sandbox.__file__]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, encoding="utf-8", timeout=WALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [{"error": "limit", "message": f"no answer in {WALL_SECONDS} s"}] * count
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        message = f"more than {sandbox.CPU_SECONDS} s of computing"
    else:
        message = f"its process ended with {done.returncode}: {done.stderr.strip()[-200:]}"
    return [{"error": "limit", "message": message}] * count
