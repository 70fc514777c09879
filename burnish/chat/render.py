"""Conversations to token ids and weights, and answers back to text: the one renderer of training, labelling,
evaluation and serving. Knows messages and a tokenizer; knows no model.

The template's own text is read with special tokens, contents without (see `tokenizer`), piece by piece; so the ids of a
conversation are those of its pieces, and `prompt(m) + answer(t)` is `example(m + t)` up to the end marker. Where a
tokenizer puts a space before each text it reads (SentencePiece's old habit) this differs from reading the whole text at
once; byte-level tokenizers agree on ordinary text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from burnish.chat.talks import Said, Shown, Talks, Tools
from burnish.chat.template import Slot
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError, Problem
from burnish.types import Message, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A conversation as ids, and how much each is learned: 1 on what the assistant says and its end marker, else 0."""

    ids: list[int]
    weights: list[float]


class Renderer:
    """Renders for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._markup: dict[str, list[int]] = {}
        self._lead_ids = self._read(tokenizer.chat.lead)
        self.talks = Talks(tokenizer.chat, tokenizer.forged)

    def example(self, messages: Sequence[Message], tools: Tools = (), shown: Shown | None = None) -> Rendered:
        """A conversation to learn from: the prompt, in which the assistant's turns are learned too, and the answer.
        Raises DataError when it does not end with an assistant's turn.

        Args: tools, schemas of what the assistant may call; shown, what `talks` made of the two, where it was asked
        before, as for many conversations it should.
        """
        if not messages or messages[-1].role != "assistant":
            raise DataError(Problem("", "the conversation does not end with an assistant's turn: nothing to learn"))
        if shown is None and (tools or any(turn.calls for turn in messages)):
            [found] = self.talks.show([(messages, tools)])
            if isinstance(found, DataError):
                raise found
            shown = found
        made = self._asked(messages[:-1], shown)
        if shown and shown.last:
            self._call(made, shown.last, messages[-1], 1.0)
            return made
        _add(made, self.answer(messages[-1].content), 1.0)
        tail, ending = self._read(self.tokenizer.chat.tail), self.tokenizer.ending
        _add(made, tail[len(ending) :] if tail[: len(ending)] == ending else [], 0.0)
        return made

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where the assistant's answer begins. Raises DataError when it is not the assistant's turn."""
        if not messages or messages[-1].role == "assistant":
            raise DataError(Problem("", "a prompt ends with what was said to the assistant, not with its answer"))
        return self._asked(messages).ids

    def answer(self, text: str) -> list[int]:
        """Ids that follow a prompt when the assistant says `text` and ends its turn."""
        return self._said(self.tokenizer.chat.slot.fill(text)) + self.tokenizer.ending

    def whole(self, text: str) -> list[int]:
        """Ids that follow a prompt when the assistant says `text` and that is all: whatever the template writes."""
        return self._said(self.tokenizer.chat.slot.fill(text)) + self._read(self.tokenizer.chat.tail)

    def closed(self, ids: Sequence[int]) -> list[int]:
        """A sampled answer's ids with the end marker, which one that the budget cut lacks."""
        return list(ids) if self._end_of(ids) is not None else [*ids, *self.tokenizer.ending]

    def parse(self, ids: Sequence[int]) -> tuple[str, Stop]:
        """What was said before the end marker, and whether there was one. The lead is no part of it, where `answer`
        would add it again."""
        end = self._end_of(ids)
        said = list(ids[:end])
        text, lead = self.tokenizer.decode(said), self.tokenizer.chat.lead
        if lead.isspace():
            text = text if self._spaced(lead) else text.removeprefix(lead)
        elif self._lead_ids and said[: len(self._lead_ids)] == self._lead_ids:
            rest = self.tokenizer.decode(said[len(self._lead_ids) :])
            text = rest if self.tokenizer.chat.begun(rest)[0] == lead else text
        return text, Stop.LENGTH if end is None else Stop.EOS

    def _end_of(self, ids: Sequence[int]) -> int | None:
        """Where the first token stands that ends an answer."""
        return next((number for number, id in enumerate(ids) if id in self.tokenizer.end_ids), None)

    def _asked(self, messages: Sequence[Message], shown: Shown | None = None) -> Rendered:
        """What stands before an answer. Of earlier ones nothing is learned that stands before what the system says."""
        made = Rendered(ids=[], weights=[])
        chat = self.tokenizer.chat
        if shown is None and any(message.calls for message in messages):
            raise DataError(Problem("", "a prompt with calls of tools: sft alone learns them so far"))
        pieces = shown.pieces if shown else chat.render([message.role for message in messages], ask=True)
        order = [piece.number for piece in pieces if not isinstance(piece, str)]
        early = order[: order.index(0)] if order and messages[0].role == "system" else []
        spoken = led = False
        for piece, after in zip_longest(pieces, pieces[1:]):
            if isinstance(piece, Slot):
                message = messages[piece.number]
                spoken = message.role == "assistant" and piece.number not in early
                text = piece.fill(message.content)
                _add(made, self._said(text) if led else self.tokenizer.encode(text), float(spoken))
                led = False
            elif isinstance(piece, Said):
                self._call(made, piece, messages[piece.number], float(piece.number not in early))
            else:
                speaks = isinstance(after, Slot) and messages[after.number].role == "assistant"
                led = speaks and piece.endswith((chat.opened + chat.lead, chat.opened.rstrip() + chat.lead))
                ids = self._read(piece.removesuffix(chat.lead) if led else piece)
                ends = len(self.tokenizer.until_end(ids)) if spoken else 0
                _add(made, ids[:ends], 1.0)
                _add(made, ids[ends:], 0.0)
                spoken = False
        return made

    def _call(self, made: Rendered, said: Said, message: Message, weight: float) -> None:
        """A turn that ends with calls, and what the template writes behind it."""
        if said.slot:
            text = said.slot.fill(message.content)
            led = said.before == self.tokenizer.chat.lead
            ids = self._said(text) if led else [*self._read(said.before), *self.tokenizer.encode(text)]
            _add(made, ids, weight)
        ids = self.tokenizer.encode_markup(said.text)
        end = self._called(ids, said)
        _add(made, ids[:end], weight)
        _add(made, ids[end:], 0.0)

    def _called(self, ids: list[int], said: Said) -> int:
        """How many of the ids are what the assistant writes: up to the last token that ends its turn, as the turn is
        shown alone, or where it has none, up to what begins the next."""
        tokenizer = self.tokenizer
        known = ids if said.own == said.text else tokenizer.encode_markup(said.own)
        special = set(tokenizer.special.values())
        ends = {tokenizer.end_id} if tokenizer.end_id in known else special
        count = sum(id in ends for id in known)
        closed = tokenizer.end_id in known or said.own.rstrip().endswith(tuple(filter(None, tokenizer.special)))
        places = [place for place, id in enumerate(ids, start=1) if id in ends]
        if len(places) < count + (not closed):
            mend = "Add the results of the calls behind them, or leave the row out."
            raise DataError(Problem("", "the chat template ends a turn with calls without a special token", mend))
        return places[count - closed]

    def _said(self, text: str) -> list[int]:
        """An answer where the template writes the lead before it, or asks for it."""
        lead, text = self.tokenizer.chat.begun(text)
        if lead.isspace():  # a model says it in one token with what comes after it
            return self.tokenizer.encode(text if self._spaced(lead) else lead + text)
        return self._read(lead) + self.tokenizer.encode(text)

    def _spaced(self, lead: str) -> bool:
        """Whether the tokenizer puts the lead before each text, and leaves it out when it reads back."""
        return lead == " " and self.tokenizer.spaces

    def _read(self, text: str) -> list[int]:
        if text not in self._markup:
            self._markup[text] = self.tokenizer.encode_markup(text)
        return self._markup[text]


def _add(made: Rendered, ids: Sequence[int], weight: float) -> None:
    made.ids.extend(ids)
    made.weights.extend([weight] * len(ids))
