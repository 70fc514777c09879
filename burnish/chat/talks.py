"""Conversations in which an assistant calls tools, as a chat template shows them: its own text, slots for contents, and
what of the text is a call. Knows templates; knows no token ids.

A template looks into schemas and calls, so it is given them, where of contents it sees marks alone (`sandbox`). What
they bring into its text is read with special tokens on, and so must hold none: `forged` says whether it does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.chat.template import Slot, Template, pieces_of
from burnish.errors import DataError, ModelError, Problem
from burnish.types import Message, ToolCall

TALK_CHARACTERS = 1 << 18
"""Of the tools and calls of one conversation at most: a template may write twice as much around them."""
_AT_ONCE = 600_000
"""Characters of tools and calls that one child is given: few children, and each far from its limits."""
_WINDOW = 1024
"""Conversations that are held rendered at a time."""
_MARKS = ("\ue000", "\ue001")
_THOUGHT = re.compile(r"<([\w:.-]+)>\s*(?:</\1>\s*)?\Z")
"""An open or an empty thought at the end of a request."""
_WRITE = "Use a model whose template shows tools, or write the calls into content, as the assistant says them."

Tools = Sequence[Mapping[str, Any]]
Talk = tuple[Sequence[Message], Tools]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An assistant's turn that ends with calls, and the text behind it up to the next slot."""

    number: int
    before: str
    """Template text between the request and the content, where there is one."""
    slot: Slot | None
    """Where what the assistant says beside its calls goes; None where it says nothing."""
    text: str
    """The calls as the template writes them, and what it writes behind them."""
    own: str
    """As much of the text as the template writes where the turn is the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A conversation up to the request for its last turn, and that turn where it has calls."""

    pieces: Sequence[str | Slot | Said]
    last: Said | None


@dataclass(frozen=True, slots=True)
class _Form:
    """How a template is given a call: templates differ in what they take."""

    silent: str | None = ""
    """The content of a turn without any."""
    as_text: bool = False
    """Whether arguments are JSON text."""


_FORMS = (_Form(), _Form(silent=None), _Form(as_text=True), _Form(silent=None, as_text=True))
"""The first in which a template shows a call is taken: the first of all is what transformers documents."""


class Talks:
    """Shows conversations with tools by one template."""

    def __init__(self, template: Template, forged: Callable[[str], str | None]) -> None:
        """`forged`: the special token that a text would bring into the template's, if any."""
        self.template = template
        self.forged = forged
        self._known: _Form | None = None

    def show(self, talks: Sequence[Talk]) -> list[Shown | DataError]:
        """Each conversation, or why it cannot be shown. Raises ModelError where the template is stopped at a limit, or
        for what a template may not do."""
        made: list[Shown | DataError | None] = [self._unfit(*talk) for talk in talks]
        fit = [number for number, error in enumerate(made) if error is None]
        asked = [self._asked(*talks[number]) for number in fit]
        for number, texts in zip(fit, self._texts(asked), strict=True):
            try:
                made[number] = self._shown(*talks[number], texts)
            except DataError as error:
                made[number] = error
        return [each for each in made if each is not None]

    def _unfit(self, messages: Sequence[Message], tools: Tools) -> DataError | None:
        """What must not come to a template."""
        beside = [message.beside() for message in messages]
        told = json.dumps([tools, beside], ensure_ascii=False)
        if len(told) > TALK_CHARACTERS:
            found = f"tools and calls of {len(told):,} characters; at most {TALK_CHARACTERS:,} are given to a template"
            return DataError(Problem("", found, "Leave the row out, or show fewer tools."))
        if len(messages) > 1 and not messages[0].calls:
            token = self._brings(told) or self._brings("".join(_texts_in([tools, beside])))
        else:
            return DataError(Problem("", "nothing was said before the answer", "Add what the user asks."))
        if token is None:
            return None
        named = [(f"tool {number}", tool) for number, tool in enumerate(tools, start=1)]
        named += [(f"what turn {number} has beside its content", each) for number, each in enumerate(beside, start=1)]
        where = next((name for name, each in named if self._brings(json.dumps(each, ensure_ascii=False))), "the row")
        found = f'{where} has "{token}" in it, which this model would read as a token of its own'
        return DataError(Problem("", found, "Write it otherwise, or leave the row out."))

    def _brings(self, text: str) -> str | None:
        return next((f"U+{ord(mark):04X}" for mark in _MARKS if mark in text), None) or self.forged(text)

    def _asked(self, messages: Sequence[Message], tools: Tools) -> dict[str, Any]:
        last = len(messages) - 1
        views = [(last, True, None), (last + 1, False, last - 1)]
        for number, message in enumerate(messages[:-1]):
            views += [(number, True, number - 1), (number + 1, False, number - 1)] if message.calls else []
        return {"turns": [_turn(message, self._form) for message in messages], "tools": [*tools], "views": views}

    def _texts(self, asked: Sequence[dict[str, Any]]) -> Iterator[list[str] | DataError]:
        """The texts of each conversation's views, many conversations a child."""
        for part in _parts(asked):
            results = iter(self._results(part))
            for each in part:
                yield self._text([next(results) for _ in each["views"]], each)

    def _text(self, results: Sequence[dict[str, str]], asked: dict[str, Any]) -> list[str] | DataError:
        failed = next((each for each in results if "error" in each), None)
        if failed is None:
            return [each["text"] for each in results]
        kind, message = failed["error"], failed["message"]
        if kind in ("security", "limit"):
            raise ModelError(Problem(self.template.where, self.template.failed(kind, message)))
        said = self.template.failed(kind, message)
        if kind == "refused":
            roles = ", ".join(turn["role"] for turn in asked["turns"])
            said = f"the chat template refuses the turns {roles}, with their tools: {message}"
        bare = kind == "undefined" and any("function" not in tool for tool in asked["tools"])
        mend = 'Write each tool as {"type": "function", "function": {...}}.' if bare else ""
        return DataError(Problem(self.template.where, said, mend))

    def _results(self, asked: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
        """Of a child; where many conversations come to a limit, of one child for each half of them."""
        results = self.template.views(asked)
        if len(asked) == 1 or not any(each.get("error") == "limit" for each in results):
            return results
        half = len(asked) // 2
        first = self._results(asked[:half])
        return first if any(each.get("error") == "limit" for each in first) else first + self._results(asked[half:])

    def _shown(self, messages: Sequence[Message], tools: Tools, texts: list[str] | DataError) -> Shown:
        if isinstance(texts, DataError):
            raise texts
        whole, *views = texts
        last = len(messages) - 1
        silent = [number for number, message in enumerate(messages) if _silent(message)]
        pieces = pieces_of(whole)
        if lost := self.template.lost([message.role for message in messages[:-1]], pieces, silent):
            raise DataError(lost)
        self._check_tools(tools, pieces)
        numbers = [number for number, message in enumerate(messages[:-1]) if message.calls]
        made: list[str | Slot | Said] = [*pieces]
        for number, head, alone in zip(numbers, views[1::2], views[2::2], strict=True):
            self._put(made, messages[number], number, _behind(head), _behind(alone))
        self._check_tools(tools, made)
        asked = pieces[-1] if isinstance(pieces[-1], str) else ""
        if not messages[last].calls:
            self._check_answer(last, asked, views[0])
            return Shown(pieces=made, last=None)
        text = _behind(views[0])
        cut = self._request(text, asked)
        if cut is None:
            raise self._otherwise(last)
        return Shown(pieces=made, last=self._said(messages[last], last, pieces_of(text[cut:]), asked, text))

    def _check_tools(self, tools: Tools, pieces: Sequence[str | Slot | Said]) -> None:
        """That each tool is named, and not by calls alone, where those are known."""
        texts = (piece.text[len(piece.own) :] if isinstance(piece, Said) else piece for piece in pieces)
        own = "\n".join(text for text in texts if isinstance(text, str))
        if hidden := next((name for name in map(_name_of, tools) if not _says(own, name)), None):
            raise DataError(Problem(self.template.where, f'the chat template shows no tools ("{hidden}")', _WRITE))

    def _put(self, pieces: list[str | Slot | Said], message: Message, number: int, head: str, alone: str) -> None:
        """Cut the request for a turn with calls from what the assistant says in it."""
        places = (place for place, piece in enumerate(pieces) if isinstance(piece, Slot) and piece.number == number - 1)
        place = 1 + next(places)
        end = place + (1 if _silent(message) else 3)
        begin = pieces[place] if place < len(pieces) else ""
        text = begin if isinstance(begin, str) else ""
        cut = self._request(text, head)
        if cut is None:  # templates leave the thoughts of earlier turns out
            thought = _THOUGHT.search(head)
            cut = thought.start() if thought and text.startswith(head[: thought.start()]) else None
        if cut is None:
            raise self._otherwise(number)
        rest = [text[cut:], *pieces[place + 1 : end]]
        pieces[place:end] = [*filter(None, [text[:cut]]), self._said(message, number, rest, head, alone)]

    def _request(self, text: str, head: str) -> int | None:
        """How many characters the request for a turn has in a text that shows the turn; None where it is not there. A
        thought that it opens may go on in the same line there (`Template.opened`)."""
        opened = self.template.opened
        ends = (head, head.rstrip() if opened and head.endswith(opened) else head)
        return next((len(each) for each in ends if text.startswith(each)), None)

    def _otherwise(self, number: int) -> DataError:
        found = f"the chat template asks for turn {number + 1} in one way and shows its calls in another"
        return DataError(Problem(self.template.where, found, _WRITE))

    def _said(self, message: Message, number: int, pieces: Sequence[str | Slot | Said], head: str, alone: str) -> Said:
        """A turn with calls, of the pieces behind its request. `alone`: request and text where the turn is the last."""
        cut = self._request(alone, head)
        if cut is None:
            raise self._otherwise(number)
        text = "".join(piece for piece in pieces[-1:] if isinstance(piece, str))
        slots = [piece for piece in pieces if not isinstance(piece, str)]
        slot = slots[0] if slots and isinstance(slots[0], Slot) else None
        before = "".join(piece for piece in pieces[:1] if isinstance(piece, str)) if slot else ""
        if len(slots) != (not _silent(message)) or (slot and slot.number != number):
            found = f"the chat template does not show what turn {number + 1} says beside its calls"
            raise DataError(Problem(self.template.where, found, "Leave the content out, or the row."))
        own = next((piece for piece in reversed(pieces_of(alone[cut:])) if isinstance(piece, str)), "")
        lead = self.template.lead  # which some write where a turn is the last alone
        own = max((_shared(text, each) for each in (own, own.removeprefix(lead))), key=len)
        if hidden := next((call.name for call in message.calls if not _shows(own, call)), None):
            found = f'the chat template shows no calls of tools (turn {number + 1}, "{hidden}")'
            raise DataError(Problem(self.template.where, found, _WRITE))
        return Said(number=number, before=before, slot=slot, text=text, own=own)

    def _check_answer(self, number: int, head: str, shown: str) -> None:
        """That a plain answer is shown as it is where nobody has tools."""
        chat, text = self.template, _behind(shown)
        if chat.opened:
            return
        found = pieces_of(text.removeprefix(head))
        if found != [piece for piece in (chat.lead, _numbered(chat.slot, number), chat.tail) if piece]:
            said = f"the chat template shows the answer of turn {number + 1} otherwise than where there are no tools"
            raise DataError(Problem(chat.where, said, _WRITE))

    @property
    def _form(self) -> _Form:
        if self._known is None:
            self._known = self._probed()
        return self._known

    def _probed(self) -> _Form:
        call = ToolCall(name="look_up", arguments={"the_key": "the_value"}, id="call00001")
        asks = Message(role="user", content="x"), Message(role="assistant", content="", calls=(call,))
        schema = {"name": call.name, "description": "", "parameters": {"type": "object", "properties": {}}}
        tools = [{"type": "function", "function": schema}]
        asked = [
            {"turns": [_turn(each, form) for each in asks], "tools": tools, "views": [(2, False, 0)]} for form in _FORMS
        ]
        results = self.template.views(asked)
        if all(each.get("error") == "limit" for each in results):
            self._text(results, asked[0])
        for form, result in zip(_FORMS, results, strict=True):
            text = result.get("text", "")
            if _shows(text, call) and "'the_key': 'the_value'" not in text:
                return form
        return _FORMS[0]


class Ahead:
    """Conversations shown in the order in which they are asked for, many before they are."""

    def __init__(self, talks: Talks, all: Sequence[Talk | None]) -> None:
        """`all`: None for one that has no tools."""
        self.talks = talks
        self.all = all
        self._made: dict[int, Shown | DataError] = {}

    def of(self, number: int) -> Shown | None:
        """The conversation of a number; None where it has no tools. Raises DataError where it cannot be shown."""
        if self.all[number] is None:
            return None
        if number not in self._made:
            rest = enumerate(self.all[number : number + _WINDOW], start=number)
            asked = {place: talk for place, talk in rest if talk is not None}
            self._made = dict(zip(asked, self.talks.show([*asked.values()]), strict=True))
        found = self._made[number]
        if isinstance(found, DataError):
            raise found
        return found


def _silent(message: Message) -> bool:
    """Whether a turn has calls and says nothing else."""
    return bool(message.calls) and not message.content.strip()


def _turn(message: Message, form: _Form) -> dict[str, Any]:
    """A turn as a template is given it; where it has no "content", a mark comes in its place."""
    turn: dict[str, Any] = {"role": message.role, **message.beside()}
    if _silent(message):
        turn["content"] = form.silent
    for call in turn.get("tool_calls", []) if form.as_text else []:
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return turn


def _parts(asked: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    size = 0
    for each in asked:
        length = len(json.dumps([each["turns"], each["tools"]], ensure_ascii=False)) + 100 * len(each["views"])
        if part and size + length > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append(each)
        size += length
    if part:
        yield part


def _behind(text: str) -> str:
    """What stands behind the mark that a view begins with."""
    return text[text.find("\ue001") + 1 :].removeprefix("\u2003")


def _shared(one: str, other: str) -> str:
    """What two texts begin with alike."""
    if one.startswith(other):
        return other
    return one[: next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))]


def _numbered(slot: Slot, number: int) -> Slot:
    return Slot(number=number, trim_left=slot.trim_left, trim_right=slot.trim_right)


def _name_of(tool: Mapping[str, Any]) -> str:
    return (tool.get("function") or tool)["name"]


def _shows(text: str, call: ToolCall) -> bool:
    """Whether the template's text says a call: its name, and the names and texts of its arguments."""
    values = [value for value in call.arguments.values() if isinstance(value, str)]
    return all(_says(text, each) for each in (call.name, *call.arguments, *values))


def _says(text: str, said: str) -> bool:
    forms = (said.strip(), json.dumps(said, ensure_ascii=False)[1:-1], json.dumps(said)[1:-1])
    return any(form in text for form in forms)


def _texts_in(value: Any) -> Iterator[str]:
    """Every text of a JSON value, names of members included."""
    if isinstance(value, str):
        yield value
    for each in value.items() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts_in(each)
