"""Where stop strings end answers, whatever tokens their characters lie in: by what decoding the whole finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models

from burnish.rollout.stops import stopping

CHARACTERS = "é€😀"
WORDS = ["User", " User", ":", " ", "a", "b", "b ", "ab", "\n", "\nUs", "er:", "é", "a€", " " * 8, "ab" * 20]
STRINGS = ["é", "😀", "\nUser:", "User: a", "€€", "€😀é€😀", "é€é€é€", "  a", "##", "ab" * 5 + " ", "\ufffd", "b\ufffd"]
Read = Callable[[Sequence[int]], str]
Made = tuple[list[list[int]], Read]
"""What is said, each a token or a character's, and what reads it."""


def _made(pieces: Sequence[str], decoder: Any, spelled: Sequence[Sequence[str]] = ()) -> Made:
    """The last token but those that are spelled is special, and says nothing."""
    numbers = {piece: k for k, piece in enumerate(dict.fromkeys([*pieces, *(each for row in spelled for each in row)]))}
    found = Tokenizer(models.WordLevel(numbers, unk_token=pieces[0]))
    found.decoder = decoder
    found.add_special_tokens(["<|x|>"])
    said = [[k] for k in range(found.get_vocab_size())] + [[numbers[each] for each in row] for row in spelled] * 4
    return said, lambda ids: found.decode(list(ids))


def byte_level() -> Made:
    """Tokens of one byte, and some that begin or end within a character."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letter = {byte: chr(byte) for byte in plain}
    letter |= {byte: chr(256 + k) for k, byte in enumerate(sorted({*range(256)} - {*plain}))}

    def shown(raw: bytes) -> str:
        return "".join(letter[byte] for byte in raw)

    cut = ["€".encode()[1:] + b"a", b" " + "😀".encode()[:2], "é".encode()[1:] + "€".encode()[:1], b"\xff"]
    pieces = [shown(raw) for raw in (*(word.encode() for word in WORDS), *cut)]
    return _made(pieces, decoders.ByteLevel(), [[letter[byte] for byte in each.encode()] for each in CHARACTERS])


def byte_fallback() -> Made:
    """As Llama 2 has it: a run of bytes is text only where all of it is."""
    spelled = [[f"<0x{byte:02X}>" for byte in each.encode()] for each in CHARACTERS]
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return _made([word.replace(" ", "▁") for word in WORDS], decoders.Sequence(parts), spelled)


def metaspace() -> Made:
    return _made([word.replace(" ", "▁") for word in WORDS], decoders.Metaspace())


def word_piece() -> Made:
    return _made(["User", ":", "a", "##b", "##é", "##a", "\n", "😀", "€"], decoders.WordPiece())


def word_ends() -> Made:
    """A token ends a word, and says a space where it is not the last."""
    return _made(["User</w>", ":</w>", "a</w>", "a", "b", "é</w>", "\n"], decoders.BPEDecoder())


@pytest.mark.parametrize("made", [byte_level, byte_fallback, metaspace, word_piece, word_ends])
def test_tails_say_what_the_whole_says(made: Callable[[], Made]) -> None:
    units, read = made()
    draw, late = Random(3), 0
    for _ in range(150):
        often = draw.choices((0, 1, 9), k=len(units))  # few tokens of many kinds
        ids = [token for unit in draw.choices(units, [weight + 0.01 for weight in often], k=60) for token in unit]
        text = read(ids)
        starts = [draw.randrange(len(text)) for _ in range(3 if text else 0)]
        own = [text[start : start + draw.randint(1, 12)] for start in starts]
        strings = draw.sample([*own, *STRINGS], draw.randint(1, 3))
        stopped = stopping(read, strings)
        assert stopped
        for end in range(1, len(ids) + 1):
            whole = read(ids[:end])
            wanted = any(string in whole for string in strings)
            assert stopped(ids[:end]) == wanted, (ids[:end], strings)
            if wanted:
                late += end > 40
                break
    assert late > 5


@pytest.mark.parametrize("made", [byte_level, byte_fallback])
@pytest.mark.parametrize(("said", "string"), [("aab€€€", "ab€€€"), ("ax€€😀€€", "😀€€")])
def test_characters_of_several_tokens_count_as_many(made: Callable[[], Made], said: str, string: str) -> None:
    """With x the special token stands within the first character of several: nothing is read from there on."""
    units, read = made()
    of = {read(unit): unit for unit in units}
    ids = [token for each in said.replace("x", "") for token in of[each]]
    if "x" in said:
        ids[3:3] = of[""]
    stopped = stopping(read, [string])
    assert stopped
    assert [stopped(ids[:end]) for end in range(1, len(ids) + 1)] == [False] * (len(ids) - 1) + [True]


def test_what_a_template_leads_with_is_left_out_where_an_answer_begins_alone() -> None:
    units, read = byte_level()
    of = {read(unit): unit for unit in units}
    lead = [*of["\n"], *of["a"]]

    def parsed(ids: Sequence[int]) -> str:
        return read(ids[2:] if ids[:2] == lead else ids)

    ids = [token for each in "\nab:bbb\nab:" for token in of[each]]
    stopped = stopping(parsed, ["\nab:"])
    assert stopped
    assert [stopped(ids[:end]) for end in range(1, len(ids) + 1)] == [False] * (len(ids) - 1) + [True]


def test_a_token_costs_no_more_at_the_end_of_a_long_answer() -> None:
    """What is decoded of an answer, in ids: as many for one string as for three."""
    units, read = byte_level()
    ids = [token for unit in Random(0).choices(units, k=500) for token in unit]
    costs: list[list[int]] = []
    for strings in (["\nUser: none"], ["\nUser: none", "\nNo", "##"]):
        seen: list[int] = []

        def counted(part: Sequence[int], seen: list[int] = seen) -> str:
            seen.append(len(part))
            return read(part)

        stopped = stopping(counted, strings)
        assert stopped
        assert not any(stopped(ids[:end]) for end in range(1, len(ids) + 1))
        costs.append([count for count in seen if count > 1])
    assert costs[0] == costs[1]
    assert max(costs[0]) < 60


def test_without_strings_nothing_is_looked_for() -> None:
    assert stopping(lambda ids: "", ()) is None
