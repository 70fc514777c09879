"""How other programs write conversations in JSON lines, and the shell line that makes ours of them. Knows columns;
reads nothing.
"""

from __future__ import annotations

from burnish.records.files import rewrite
from burnish.records.jsonl import Row

_ROWS = (
    'python -c "import json, sys; {}; [print(json.dumps({}, ensure_ascii=False)) for r in map(json.loads, sys.stdin)]"'
)
_FROM_ALPACA = _ROWS.format(
    "ask = lambda *said: '\\n\\n'.join(filter(None, said))",
    "{'prompt': ask(r.pop('instruction'), r.pop('input', '')), 'completion': r.pop('output'), **r}",
)
_FROM_SHARE_GPT = _ROWS.format(
    "names = {'human': 'user', 'gpt': 'assistant'}",
    "{'messages': [{'role': names.get(t['from'], t['from']), 'content': t['value']} for t in r.pop('conversations')], "
    "**r}",
)


def translation(row: Row) -> str | None:
    """A shell line that writes the row's file with `messages`, or with `prompt` and `completion`, and its other
    columns as they are. None where its columns are neither Alpaca's nor ShareGPT's."""
    if {"instruction", "output"} <= row.value.keys():
        return rewrite(row.path, _FROM_ALPACA)
    return rewrite(row.path, _FROM_SHARE_GPT) if "conversations" in row.value else None
