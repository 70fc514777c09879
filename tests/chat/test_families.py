"""Templates in the shapes that published models have: what a prompt is, what an answer is, and what is learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Vocabulary
from tokenizers import decoders, models, normalizers, pre_tokenizers

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import CONFIG, TEMPLATE, VOCABULARY, Tokenizer
from burnish.errors import DataError, ModelError
from burnish.types import Message, Stop

SYSTEM = Message(role="system", content="S")
ASKED = [Message(role="user", content="Q")]
SAID = "A"
THOUGHT = "<think>\nhm\n</think>\n\nA"

BRACKETS = (
    "{% set rest = messages[1:] if messages[0].role == 'system' else messages %}"
    "{% for m in rest %}{% if m.role == 'user' %}[INST] "
    "{% if loop.last and rest != messages %}{{ messages[0].content }}\n\n{% endif %}{{ m.content }} [/INST]"
    "{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)
"""Never looks at add_generation_prompt, and writes what the system says beside the last question alone."""
TURN = "<|im_start|>{{ m.role }}\n"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n%s{% endif %}"
EMPTY_THOUGHT = (
    "{% for m in messages %}" + TURN + "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
)
GLUED = EMPTY_THOUGHT.replace("<think>\n\n</think>\n\n", "<think></think>") + ASK.replace("%s", "<think>\n")
"""The request begins a thought in another line than that in which the template shows it."""
OPENED = EMPTY_THOUGHT + ASK.replace("%s", "<think>\n")
EMPTY_THOUGHT += ASK.replace("%s", "")
UNSHOWN = "{% for m in messages %}" + TURN + "{{ m.content }}<|im_end|>{% endfor %}" + ASK.replace("%s", "<think>\n")
UNENDED = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{{ '<think></think>\n' }}{% endif %}{{ m.content | trim }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
"""An answer is followed by the next turn, or by nothing."""
SPACED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}[A] {{ m.content }}<|im_end|>"
    "{% else %}[Q] {{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}[A]{% endif %}"
)
TWO_ENDS = (
    "{% for m in messages %}" + TURN + "{{ m.content }}"
    "{% if loop.last and m.role == 'assistant' %}<|endoftext|>{% else %}<|im_end|>{% endif %}{% endfor %}"
) + ASK.replace("%s", "")

Made = Callable[..., Renderer]


@pytest.fixture
def made(tokenizer: Tokenizer, tmp_path: Path) -> Made:
    def make(template: str, **config: object) -> Renderer:
        tokenizer.save(tmp_path)
        (tmp_path / TEMPLATE).write_text(template)
        (tmp_path / CONFIG).write_text(json.dumps(json.loads((tmp_path / CONFIG).read_text()) | config))
        return Renderer(Tokenizer.load(tmp_path))

    return make


def answered(messages: list[Message], text: str) -> list[Message]:
    return [*messages, Message(role="assistant", content=text)]


def shown(renderer: Renderer, messages: list[Message], text: str) -> tuple[str, str]:
    """Prompt and answer as text, which are the example."""
    prompt, answer = renderer.prompt(messages), renderer.answer(text)
    assert renderer.example(answered(messages, text)).ids[: len(prompt + answer)] == prompt + answer
    return renderer.tokenizer.shown(prompt), renderer.tokenizer.shown(answer)


def learned(renderer: Renderer, messages: list[Message]) -> str:
    made = renderer.example(messages)
    return renderer.tokenizer.shown([id for id, weight in zip(made.ids, made.weights, strict=True) if weight])


def test_a_template_that_asks_in_the_users_turn_is_read(made: Made) -> None:
    assert shown(made(BRACKETS), ASKED, SAID) == ("[INST] Q [/INST]", " A<|im_end|>")


@pytest.mark.parametrize(("template", "owed"), [(UNSHOWN, "</think>"), (OPENED, ""), (GLUED, ""), (BRACKETS, "")])
def test_a_thought_that_the_request_opens_is_owed_its_end(made: Made, template: str, owed: str) -> None:
    assert made(template).tokenizer.chat.owed == owed


def test_what_the_system_says_beside_the_last_question_is_asked_and_learned_alike(made: Made) -> None:
    renderer = made(BRACKETS)
    assert shown(renderer, [SYSTEM, *ASKED], SAID) == ("[INST] S\n\nQ [/INST]", " A<|im_end|>")
    with pytest.raises(DataError, match=r"leaves out turn 1 \(system\) of system, user, assistant"):
        renderer.tokenizer.chat.render(["system", "user", "assistant"], ask=False)
    found = renderer.example(answered([SYSTEM, *answered(ASKED, SAID), *ASKED], SAID))
    assert renderer.tokenizer.shown(found.ids) == "[INST] Q [/INST] A<|im_end|>[INST] S\n\nQ [/INST] A<|im_end|>"
    learned = [id for id, weight in zip(found.ids, found.weights, strict=True) if weight]
    assert renderer.tokenizer.shown(learned) == " A<|im_end|>", (
        "the first answer was given without what the system says"
    )
    without = renderer.example(answered([*answered(ASKED, SAID), *ASKED], SAID))
    learned = [id for id, weight in zip(without.ids, without.weights, strict=True) if weight]
    assert renderer.tokenizer.shown(learned) == " A<|im_end|> A<|im_end|>"


@pytest.mark.parametrize(
    ("template", "opened", "plain", "thought"),
    [
        (EMPTY_THOUGHT, "", "<think>\n\n</think>\n\nA", THOUGHT),
        (OPENED, "<think>\n", "\n</think>\n\nA", "hm\n</think>\n\nA"),
        (UNSHOWN, "<think>\n", "A", "hm\n</think>\n\nA"),
        (GLUED, "<think>\n", "</think>A", "hm\n</think>\n\nA"),
    ],
)
def test_a_thought_is_said_once(made: Made, template: str, opened: str, plain: str, thought: str) -> None:
    renderer = made(template)
    for text, wanted in ((SAID, plain), (THOUGHT, thought)):
        prompt, answer = shown(renderer, ASKED, text)
        assert prompt.endswith("<|im_start|>assistant\n" + opened)
        assert answer == wanted + "<|im_end|>"


def test_what_the_request_opened_is_not_opened_again_in_the_same_line(made: Made) -> None:
    assert shown(made(OPENED), ASKED, "<think>hm</think>A")[1] == "hm</think>A<|im_end|>"


@pytest.mark.parametrize("template", [EMPTY_THOUGHT, GLUED, OPENED, UNSHOWN, UNENDED, BRACKETS, SPACED])
@pytest.mark.parametrize(
    "text", [SAID, THOUGHT, "hm\n</think>\n\nA", "<think>\n\n</think>\n\na </think> b", "</think>", ""]
)
def test_what_was_said_is_read_and_written_back_alike(made: Made, template: str, text: str) -> None:
    renderer = made(template)
    ids = renderer.answer(text)
    assert renderer.answer(renderer.parse(ids)[0]) == ids


def test_thoughts_of_earlier_turns_stay_as_the_template_shows_them(made: Made) -> None:
    turns = answered([*answered(ASKED, THOUGHT), *ASKED], THOUGHT)
    for template, last in ((EMPTY_THOUGHT, THOUGHT), (OPENED, "hm\n</think>\n\nA"), (UNSHOWN, "hm\n</think>\n\nA")):
        assert learned(made(template), turns) == f"{THOUGHT}<|im_end|>{last}<|im_end|>"


def test_a_lead_of_every_turn_gives_way_to_the_turns_own_thought(made: Made) -> None:
    turns = answered([*answered(ASKED, "<think>hm</think>\nA"), *ASKED], SAID)
    assert learned(made(UNENDED), turns) == "\n<think>hm</think>\nA<|im_start|>\n<think></think>\nA<|im_start|>"


def test_what_begins_the_next_turn_ends_an_answer_that_nothing_else_ends(made: Made) -> None:
    renderer = made(UNENDED)
    assert renderer.tokenizer.end_id == 257
    assert shown(renderer, ASKED, SAID) == (
        "<|im_start|>user\nQ<|im_start|>assistant",
        "\n<think></think>\nA<|im_start|>",
    )


def test_else_the_end_of_text_ends_it(made: Made) -> None:
    plain = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: "
    )
    renderer = made(plain + "{% endif %}", eos_token="<|endoftext|>")
    assert shown(renderer, ASKED, SAID) == ("user: Q\nassistant: ", "A\n<|endoftext|>")
    assert learned(renderer, answered(ASKED, SAID)) == "A\n<|endoftext|>"
    with pytest.raises(ModelError, match="without a special token"):
        made(plain + "{% endif %}", eos_token=None)


def test_turns_within_a_conversation_may_end_otherwise_than_the_last(made: Made) -> None:
    turns = answered([*answered(ASKED, "1"), *ASKED], "2")
    assert learned(made(TWO_ENDS), turns) == "1<|im_end|>2<|endoftext|>"


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (BRACKETS, " A<|im_end|>"),
        (OPENED, "<|im_start|>assistant\n<think>\n\n</think>\n\nA<|im_end|>\n"),
        (UNSHOWN, "<|im_start|>assistant\n<think>\nA<|im_end|>"),
        ("{% if messages[0].role != 'system' %}[Q]{% endif %}" + SPACED, "[Q][A] A<|im_end|>"),
    ],
)
def test_an_answer_alone_follows_what_the_template_writes_before_it(made: Made, template: str, wanted: str) -> None:
    renderer = made(template)
    ids = renderer.example(answered([], SAID)).ids
    assert renderer.tokenizer.shown(ids) == wanted


def test_an_answer_ends_at_any_token_that_ends_answers(made: Made) -> None:
    renderer = made(EMPTY_THOUGHT, eos_token="<|endoftext|>")
    said = renderer.tokenizer.encode(SAID)
    for end in (256, 258):
        assert renderer.parse([*said, end, 65]) == (SAID, Stop.EOS)
        assert renderer.closed([*said, end]) == [*said, end]
    assert renderer.closed(said) == [*said, 258]


def worded(words: list[str], template: str) -> Renderer:
    """For a tokenizer that puts a space before each text, as SentencePiece did."""
    vocabulary = Vocabulary(models.WordLevel({word: id for id, word in enumerate(["?", *words])}, unk_token="?"))
    vocabulary.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    vocabulary.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    vocabulary.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Strip(" ", 1, 0)])
    vocabulary.add_special_tokens(["<|im_end|>", "[A]", "[Q]"])
    return Renderer(Tokenizer({VOCABULARY: vocabulary.to_str().encode(), TEMPLATE: template.encode()}, "worded"))


def test_a_space_before_an_answer_is_read_with_it_and_once(made: Made) -> None:
    renderer = made(SPACED)
    assert renderer.answer(SAID) == [*renderer.tokenizer.encode(" A"), 258]
    assert renderer.parse(renderer.answer(SAID)) == (SAID, Stop.EOS)
    spacing = worded(["\u2581yes", "\u2581a"], SPACED)
    assert spacing.answer("yes") == [1, 3]
    assert spacing.parse([1, 3]) == ("yes", Stop.EOS)
    assert spacing.example(answered([*answered(ASKED, "yes"), *ASKED], "yes")).ids.count(1) == 2
