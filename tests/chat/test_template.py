"""Chat templates are other people's programs: what they must do, and what they cannot."""

from __future__ import annotations

import time

import pytest

from burnish.chat.template import Slot, Template, pinned
from burnish.errors import BurnishError, DataError, ModelError
from burnish.models.tiny import CHATML

TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"
GOOD = TURNS + "{% if add_generation_prompt %}[assistant]{% endif %}"


def made(source: str) -> Template:
    return Template(source, {"bos_token": "<s>"}, "model")


def test_pieces_are_the_templates_text_and_slots() -> None:
    pieces = made(GOOD).render(["user", "assistant"], ask=False)
    assert [piece.number if isinstance(piece, Slot) else piece for piece in pieces] == [
        "[user]",
        0,
        "[end][assistant]",
        1,
        "[end]",
    ]


def test_the_request_for_an_answer_is_at_the_end() -> None:
    assert made(GOOD).render(["user"], ask=True)[-1] == "[end][assistant]"


def test_lead_and_tail_stand_around_an_answer() -> None:
    thinks = "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}"
    template = made(GOOD.replace("{{ m.content }}", thinks).replace("[end]", "/"))
    assert (template.lead, template.tail) == ("<think></think>", "/")


def test_trimming_is_noticed_for_each_side() -> None:
    [slot] = [
        p for p in made(GOOD.replace("m.content", "m.content | trim")).render(["user"], ask=True) if isinstance(p, Slot)
    ]
    assert slot.fill(" a b \n") == "a b"
    [slot] = [p for p in made(GOOD).render(["user"], ask=True) if isinstance(p, Slot)]
    assert slot.fill(" a b \n") == " a b \n"


def test_published_idioms_are_understood() -> None:
    source = (
        "{{ bos_token }}{% if tools %}{{ tools | tojson }}{% endif %}"
        "{% for m in messages %}{% if m.tool_calls %}x{% endif %}{% if m.name is defined %}y{% endif %}"
        "{% if loop.index0 > 90 %}{% break %}{% endif %}[{{ m.role }}]"
        "{% generation %}{{ m.content }}{% endgeneration %}[end]{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert made(source).render(["user"], ask=True)[0] == "<s>[user]"


def test_what_nobody_passes_may_be_asked_about() -> None:
    asks = (
        "{% if xml_tools or python_tools %}x{% endif %}{% if available_tools and documents %}x{% endif %}"
        "{% if 'citations' in controls %}x{% endif %}{% for each in builtin_tools %}x{% endfor %}"
        "{% if builtin_tools | length or reasoning_effort == 'high' %}x{% endif %}"
    )
    assert made(asks + GOOD).render(["user"], ask=True)[0] == "[user]"


@pytest.mark.parametrize(
    "written",
    [
        "{{ strftime_now('%d %b %Y') }}",
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}",
        "{% set f = '%d %b %Y' %}{{ strftime_now(f) }}",
    ],
)
def test_the_date_is_always_the_same(written: str) -> None:
    assert made(written + GOOD).render(["user"], ask=True)[0] == "26 Jul 2024[user]"


def test_a_date_is_written_in_place_of_questions_for_it() -> None:
    assert pinned('{{ a + strftime_now( "%B %d, %Y" ) }}') == '{{ a + "July 26, 2024" }}'
    assert pinned(twice := "{{ strftime_now(f) }}{{ my_strftime_now('%d') }}") == twice


HOSTILE = {
    "globals of a function": "{{ lipsum.__globals__['os'].system('true') }}",
    "class of a value": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "init of a global": "{{ cycler.__init__.__globals__ }}",
    "format string": "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "attr filter": "{{ raise_exception | attr('__globals__') }}",
    "namespace": "{% set n = namespace() %}{{ n.__init__.__globals__ }}",
    "changes messages": "{{ messages.append(1) }}",
    "huge text": "{{ 'A' * 10**9 }}",
    "huge centring": "{{ 'A' | center(10**9) }}",
    "huge number": "{{ 10 ** (10 ** 10) }}",
    "doubling": "{% set n = namespace(x='A') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "huge range": "{{ range(10**9) | list }}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "much output": "{% for i in range(99999) %}{{ 'A' * 1000 }}{% endfor %}",
    "method of the clock": "{{ strftime_now.__self__.__class__.__mro__ }}",
    "huge dates": "{% for i in range(9) %}{{ strftime_now('%999999999Y' * 10**6) | length }}{% endfor %}{{ 1 // 0 }}",
    "deep nesting": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_templates_are_stopped_and_named(kind: str) -> None:
    began = time.monotonic()
    with pytest.raises(
        ModelError, match=r"model: the chat template .*(may not|limit|failed|not Jinja|nothing defines)"
    ):
        made(HOSTILE[kind] + GOOD)
    assert time.monotonic() - began < 30  # 2 s of computing, on a machine that may be busy


USELESS = {
    "misspelt variable": (GOOD + "{{ bos_tokn }}", "nothing defines"),
    "misspelt in a sum": (GOOD + "{% set x = '<' ~ bos_tokn %}", "nothing defines"),
    "misspelt loop": (GOOD.replace("in messages", "in mesages"), r"leaves out turn 1 \(user\), 2 \(assistant\)"),
    "misspelt field": ("{% for m in messages %}{{ m.contents }}{% endfor %}", "nothing defines"),
    "unknown tag": (GOOD + "{% fortunes %}", "line 1: Encountered unknown tag 'fortunes'"),
    "cannot ask": (TURNS, "ignores add_generation_prompt"),
    "ends all without an answer": ("{% for m in messages %}{{ m.content }}/{% endfor %}[end]", "ignores add_gen"),
    "asks otherwise": (TURNS + "{% if add_generation_prompt %}[bot]{% endif %}", "in one way and shows it in another"),
    "drops the user": (GOOD.replace("in messages", "in messages if m.role != 'user'"), r"leaves out turn 1 \(user\)"),
    "drops the system": (
        GOOD.replace("in messages", "in messages if m.role != 'system'"),
        r"leaves out turn 1 \(system\)",
    ),
    "too long": (GOOD + "x" * 300_000, "at most 262,144"),
    "empty": ("", "leaves out"),
}


@pytest.mark.parametrize("kind", USELESS)
def test_useless_templates_are_refused_at_load(kind: str) -> None:
    source, said = USELESS[kind]
    with pytest.raises(ModelError, match=said):
        made(source)


def test_turns_that_the_template_refuses_are_the_datas_fault() -> None:
    template = made("{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + GOOD)
    assert template.render(["user"], ask=True)
    with pytest.raises(DataError, match="refuses the turns system, user: no system here"):
        template.render(["system", "user"], ask=True)


def test_long_conversations_are_rendered_too() -> None:
    roles = ["user", "assistant"] * 20
    slots = [piece for piece in made(CHATML).render(roles, ask=False) if isinstance(piece, Slot)]
    assert [slot.number for slot in slots] == list(range(40))


def test_errors_are_burnishs_own() -> None:
    with pytest.raises(BurnishError) as caught:
        made("{{ messages[0].content.x.y }}" + GOOD)
    assert "Traceback" not in str(caught.value)
