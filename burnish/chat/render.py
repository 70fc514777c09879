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
        self._lead = tokenizer.chat.lead
        self._lead_ids = self._read(self._lead)
        self._tail_ids = self._until_end(self._read(tokenizer.chat.tail))

    def example(self, messages: Sequence[Message]) -> Rendered:
        """A conversation to learn from. Raises DataError when it does not end with an assistant's turn."""
        if not messages or messages[-1].role != "assistant":
            raise DataError(Problem("", "the conversation does not end with an assistant's turn: nothing to learn"))
        made = Rendered(ids=[], weights=[])
        pieces = self.tokenizer.chat.render([message.role for message in messages], ask=False)
        spoken = False
        for number, piece in enumerate(pieces):
            if isinstance(piece, Slot):
                spoken = messages[piece.number].role == "assistant"
                _add(made, self.tokenizer.encode(piece.fill(messages[piece.number].content)), float(spoken))
            else:
                after = pieces[number + 1] if number + 1 < len(pieces) else None
                leads = isinstance(after, Slot) and messages[after.number].role == "assistant"
                self._add_markup(made, piece, ends=spoken, leads=leads)
                spoken = False
        return made

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where the assistant's answer begins. Raises DataError when it is not the assistant's turn."""
        if not messages or messages[-1].role == "assistant":
            raise DataError(Problem("", "a prompt ends with what was said to the assistant, not with its answer"))
        ids: list[int] = []
        for piece in self.tokenizer.chat.render([message.role for message in messages], ask=True):
            if isinstance(piece, Slot):
                ids += self.tokenizer.encode(piece.fill(messages[piece.number].content))
            else:
                ids += self._read(piece)
        return ids

    def answer(self, text: str) -> list[int]:
        """Ids that follow a prompt when the assistant says `text` and ends its turn."""
        return self._lead_ids + self.tokenizer.encode(self.tokenizer.chat.slot.fill(text)) + self._tail_ids

    def closed(self, ids: Sequence[int]) -> list[int]:
        """A sampled answer's ids with the end marker, which one that the budget cut lacks."""
        return list(ids) if self.tokenizer.end_id in ids else [*ids, *self._tail_ids]

    def parse(self, ids: Sequence[int]) -> tuple[str, Stop]:
        """What was said before the end marker, and whether there was one."""
        ended = self.tokenizer.end_id in ids
        said = list(ids[: list(ids).index(self.tokenizer.end_id)] if ended else ids)
        if self._lead_ids and said[: len(self._lead_ids)] == self._lead_ids:
            said = said[len(self._lead_ids) :]
        return self.tokenizer.decode(said), Stop.EOS if ended else Stop.LENGTH

    def _add_markup(self, made: Rendered, text: str, *, ends: bool, leads: bool) -> None:
        """Template text: its beginning ends what the assistant said, its last part may lead what it says next."""
        lead = self._lead if leads and self._lead and text.endswith(self._lead) else ""
        ids = self._read(text.removesuffix(lead))
        learned = len(self._until_end(ids)) if ends else 0
        _add(made, ids[:learned], 1.0)
        _add(made, ids[learned:], 0.0)
        _add(made, self._read(lead), 1.0)

    def _until_end(self, ids: list[int]) -> list[int]:
        return ids[: ids.index(self.tokenizer.end_id) + 1]

    def _read(self, text: str) -> list[int]:
        if text not in self._markup:
            self._markup[text] = self.tokenizer.encode_markup(text)
        return self._markup[text]


def _add(made: Rendered, ids: Sequence[int], weight: float) -> None:
    made.ids.extend(ids)
    made.weights.extend([weight] * len(ids))
