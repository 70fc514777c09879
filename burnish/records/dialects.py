"""How other programs and published data sets write conversations, prompts and preferences, and the shell line that
makes ours of them. Knows columns; reads nothing.

There is a line where the columns leave no doubt what they mean. It keeps all other columns as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from burnish.records.files import rewrite
from burnish.records.jsonl import Row
from burnish.records.turns import is_transcript

ASKED = ("instruction", "question", "query", "problem", "input")
"""Columns that elsewhere hold what is asked, the surer ones first."""
_MORE = ("input", "context")
"""What an instruction is about, in Alpaca's columns and in Dolly's."""
_ANSWERED = ("output", "response", "solution", "answer")
SYSTEM = ("system", "system_prompt")
"""Columns that hold what the system says; in `HISTORY` stand earlier turns."""
HISTORY = "history"
_SHELL = (
    'python -c "import json, sys; text = sys.stdin.read(); '
    "rows = json.loads(text) if text.lstrip()[:1] == '[' else map(json.loads, filter(str.strip, text.split('\\n'))); "
    '{setup}[print(json.dumps({row}, ensure_ascii=False)) for r in rows{taken}]"'
)
_ASK = "ask = lambda *said: '\\n\\n'.join(filter(None, said)); "
_FIRST = "first = lambda said: [{'role': 'system', 'content': said}] if said else []; "
_TURNS = "turns = lambda said: said if isinstance(said, list) else [{'role': 'user', 'content': said}]; "
_EARLIER = (
    "earlier = lambda pairs: [{'role': who, 'content': said} for pair in pairs or [] "
    "for who, said in zip(('user', 'assistant'), pair)]; "
)
_FLAT = (
    "rows = [{**r, **i, 'id': str(r.get('id')) + '-' + str(n)} for r in rows "
    "for n, i in enumerate(r.pop('instances'))]; "
)
_TURN = (
    "names = {'human': 'user', 'gpt': 'assistant', 'chatgpt': 'assistant', 'observation': 'tool', "
    "'function_response': 'tool'}; "
    "more = lambda t: {k: v for k, v in t.items() if k not in ('from', 'value')}; "
    "said = lambda t: {'role': names.get(t['from'].lower(), t['from'].lower()), 'content': t['value'], **more(t)}; "
    "calls = lambda t: t['from'] == 'function_call' and t['value'].lstrip()[:1] in ('{', '[') "
    "and json.loads(t['value']); "
    "called = lambda t, c: {'role': 'assistant', 'content': '', "
    "'tool_calls': c if isinstance(c, list) else [c], **more(t)}; "
    "turn = lambda t: called(t, calls(t)) if calls(t) else said(t); "
)


@dataclass(frozen=True, slots=True)
class _Order:
    """How one data set writes preferences."""

    columns: Sequence[str]
    row: str
    """What is made of a row `r`."""
    inside: tuple[str, ...] = ()
    """A column's name, and what it holds, or each of its items does."""
    taken: str = ""
    """Of which rows, where not of all."""

    def fits(self, row: Row) -> bool:
        if not row.value.keys() >= {*self.columns}:
            return False
        column, *members = self.inside or ("",)
        held = row.value.get(column)
        return not members or _all_have(held if isinstance(held, list) else [held], *members)


def _two(asked: str, answers: Iterable[str], ranks: str) -> str:
    return f"{{'prompt': {asked}, 'completions': [{', '.join(answers)}], 'ranks': {ranks}, **r}}"


def _named(*columns: str, ranks: str) -> _Order:
    """Of rows whose prompt and two answers are columns. `ranks` may say v: the value of a fourth."""
    asked, one, other, *fourth = columns
    answers = [f"r.pop('{column}')" for column in (one, other)]
    told = ranks.replace("v", f"r['{fourth[0]}']") if fourth else ranks
    return _Order(columns, _two(f"r.pop('{asked}')", answers, told))


_LOWER = "[1 + (v > 0), 1 + (v < 0)]"
_BEST = "[1 + v, 2 - v]"
_ORDERS = (
    _named("history", "human_ref_A", "human_ref_B", "labels", ranks="[2 - v, 1 + v]"),  # SHP: 1 is A
    _named("prompt", "response_0", "response_1", "better_response_id", ranks=_BEST),  # PKU-SafeRLHF
    _named("context", "response1", "response2", "overall_preference", ranks=_LOWER),  # HelpSteer3
    _named("prompt", "response_1", "response_2", "preference_strength", ranks=_LOWER),  # HelpSteer2
    _named("input", "output_1", "output_2", "label", ranks="[v, 3 - v]"),  # LLMBar
    _named("question", "response_j", "response_k", ranks="[1, 2]"),  # pairs of Stack Exchange
    _Order(  # Chatbot Arena: both being bad is a tie
        ("conversation_a", "conversation_b", "winner"),
        _two(
            "r['conversation_a'][:-1]",
            [f"r.pop('conversation_{side}')[-1]['content']" for side in "ab"],
            "{'model_a': [1, 2], 'model_b': [2, 1]}.get(r['winner'], [1, 1])",
        ),
        taken=" if r['conversation_a'][:-1] == r['conversation_b'][:-1]",
    ),
    _Order(  # WebGPT
        ("question", "answer_0", "answer_1", "score_0", "score_1"),
        _two(
            "r.pop('question')['full_text']",
            [f"r.pop('answer_{number}')" for number in (0, 1)],
            "[1 + (r['score_0'] < r['score_1']), 1 + (r['score_0'] > r['score_1'])]",
        ),
        inside=("question", "full_text"),
    ),
    _Order(  # summaries of posts and of news
        ("info", "summaries", "choice"),
        _two(
            "r['info'].get('post') or r['info']['article']",
            [f"r['summaries'][{number}]['text']" for number in (0, 1)],
            _BEST.replace("v", "r['choice']"),
        ),
        inside=("summaries", "text"),
    ),
    _Order(  # Nectar
        ("prompt", "answers"),
        "{**r, 'completions': [a['answer'] for a in r['answers']], "
        "'ranks': [int(a['rank']) for a in r.pop('answers')]}",
        inside=("answers", "answer", "rank"),
    ),
    _Order(  # Stack Exchange
        ("question", "answers"),
        "{'prompt': r.pop('question'), 'completions': [a['text'] for a in r['answers']], "
        "'ranks': [1 + sum(b['pm_score'] > a['pm_score'] for b in r['answers']) for a in r['answers']], **r}",
        inside=("answers", "text", "pm_score"),
        taken=" if len(r['answers']) > 1",
    ),
    _Order(  # OpenAI
        ("input", "preferred_output", "non_preferred_output"),
        "{'prompt': r['input']['messages'], 'tools': r.pop('input').get('tools'), "
        "'chosen': r.pop('preferred_output'), 'rejected': r.pop('non_preferred_output'), **r}",
        inside=("input", "messages"),
    ),
)


def beyond(row: Row, column: str) -> str | None:
    """The column in which a part of what is asked stands too, beside one that is a prompt elsewhere."""
    return next((name for name in _MORE if name != column and row.value.get(name)), None)


def translation(row: Row) -> str | None:
    """A shell line that writes the row's file with `messages`, or with `prompt` and `completion`; None where its
    columns are not known."""
    if told := _conversations(row):
        setup, turns = told
        return _line(row, setup, f"{{'messages': {turns}, **r}}")
    row, flat = _flat(row)
    answered = _first(row, _ANSWERED)
    if answered is None or (told := _asked(row, ("prompt", *ASKED))) is None:
        return None
    setup, asked = told
    return _line(row, flat + setup, f"{{'prompt': {asked}, 'completion': r.pop('{answered}'), **r}}")


def asking(row: Row) -> str | None:
    """The same with `messages`, or with a `prompt` in which all stands that is asked. None where a column alone is
    the prompt."""
    if _conversations(row):
        return translation(row)
    row, flat = _flat(row)
    told = _asked(row, ASKED)
    return _line(row, flat + told[0], f"{{'prompt': {told[1]}, **r}}") if told and told[0] else None


def unanswered(row: Row) -> str:
    """The same with `messages` that end with what the assistant is asked."""
    said = "r['messages']"
    kept = f"{said}[:-1] if {said}[-1]['role'] == 'assistant' else {said}"
    return _line(row, "", f"{{**r, 'messages': {kept}}}")


def ordering(row: Row) -> str | None:
    """The same with `prompt`, and `chosen` and `rejected` or `completions` and `ranks`."""
    if {"chosen", "rejected"} <= row.value.keys():
        return _pair(row)
    made = next((each for each in _ORDERS if each.fits(row)), None)
    return _line(row, "", made.row, made.taken) if made else None


def with_system(row: Row, column: str) -> str | None:
    """The same with what a column of the system's says as the first turn. None where nothing is a prompt."""
    said = row.value
    keys = ("messages",) if "messages" in said else ("prompt",) if "prompt" in said else ("chosen", "rejected")
    if not all(isinstance(said.get(key), list) for key in keys) and keys != ("prompt",):
        return None
    turns = f"first(r.get('{column}')) + turns(v) if k in {keys!r} else v"
    return _line(row, _FIRST + _TURNS, f"{{k: {turns} for k, v in r.items() if k != '{column}'}}")


def _pair(row: Row) -> str | None:
    """Of a pair whose prompt has another name."""
    if isinstance(row.value["chosen"], dict) and (told := _conversations(row)):
        setup, turns = told
        sides = ", ".join(f"'{side}': [turn(r.pop('{side}'))]" for side in ("chosen", "rejected"))
        return _line(row, setup, f"{{'prompt': {turns}, {sides}, **r}}") if _TURN in setup else None
    if "prompt" in row.value or not isinstance(row.value["chosen"], str) or is_transcript(row.value["chosen"]):
        return None
    told = _asked(row, ASKED)
    return _line(row, told[0], f"{{'prompt': {told[1]}, **r}}") if told else None


def _conversations(row: Row) -> tuple[str, str] | None:
    """(what a line needs first, the turns of a row) of ShareGPT's columns and their like."""
    column = next((name for name in ("conversations", "conversation") if isinstance(row.value.get(name), list)), None)
    if column is None or not row.value[column]:
        return None
    begins, popped = row.value[column][0], f"r.pop('{column}')"
    setup, system = _system(row)
    if isinstance(begins, str):  # LIMA: user and assistant in turn
        alternating = "[{'role': ('user', 'assistant')[n % 2], 'content': t} for n, t in enumerate("
        return setup, f"{system}{alternating}{popped})]"
    if _all_have([begins], "from", "value"):
        return setup + _TURN, f"{system}[turn(t) for t in {popped}]"
    return (setup, f"{system}{popped}") if _all_have([begins], "role", "content") else None


def _asked(row: Row, columns: tuple[str, ...]) -> tuple[str, str] | None:
    """(what a line needs first, the prompt of a row), its system's words and earlier turns included."""
    column = _first(row, columns)
    if column is None or (column != "instruction" and beyond(row, column)):
        return None
    said, more = f"r.pop('{column}')", column == "instruction"
    if more:
        others = [name for name in _MORE if name in row.value] or _MORE[:1]
        said = ", ".join([f"ask({said}", *(f"r.pop('{name}', '')" for name in others)]) + ")"
    setup, system = _system(row)
    if isinstance(row.value.get(HISTORY), list):
        setup, system = setup + _EARLIER, f"{system}earlier(r.pop('{HISTORY}', [])) + "
    if system:
        setup, said = setup + _TURNS, f"{system}turns({said})"
    return (_ASK if more else "") + setup, said


def _flat(row: Row) -> tuple[Row, str]:
    """A row of Self-Instruct's with the columns of its first instance, and what makes a row of each; else the row."""
    if not _all_have(row.value.get("instances"), "input", "output"):
        return row, ""
    return replace(row, value=row.value | row.value["instances"][0]), _FLAT


def _system(row: Row) -> tuple[str, str]:
    column = next((name for name in SYSTEM if name in row.value), None)
    return (_FIRST, f"first(r.pop('{column}', '')) + ") if column else ("", "")


def _first(row: Row, columns: tuple[str, ...]) -> str | None:
    """The first of the columns that holds text."""
    return next((name for name in columns if isinstance(row.value.get(name), str)), None)


def _all_have(values: Any, *names: str) -> bool:
    """Whether all of a list are objects with these members."""
    found = cast("list[Any]", values) if isinstance(values, list) else []
    return bool(found) and all(isinstance(each, dict) and set(names) <= each.keys() for each in found)


def _line(row: Row, setup: str, made: str, taken: str = "") -> str:
    return rewrite(row.path, _SHELL.replace("{setup}", setup).replace("{row}", made).replace("{taken}", taken))
