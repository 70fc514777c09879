"""The child process in which chat templates run. Knows Jinja and its limits; imports nothing of burnish.

A template comes with a model, so it is somebody else's program. It runs here, never in the parent: Jinja's immutable
sandbox blocks attribute escapes, and the operating system bounds what a sandbox cannot, namely time, memory and output.
Contents of messages never come here: the parent asks for role sequences and fills numbered marks in afterwards. Of
conversations with tools, schemas and calls do come here, once the parent has found nothing in them that forges a token.

Covered: access to Python's internals, files larger than 0 bytes, loops, recursion, huge strings, huge outputs.
Not covered: where the system has no `resource` module only the parent's wall clock limits a template.

Protocol: one JSON request on stdin, {"template", "names", "conversations": [...]}; on stdout one JSON list of {"text"}
or {"error", "message"}. A conversation is {"roles", "ask"}, and has one text; or {"turns", "tools", "views"}, and has a
text for each view: [how many turns, whether an answer is asked for, the turn from whose mark on the text is wanted, or
null]. What a turn has under "content" is given to the template in place of a mark.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 2
"""Of the whole process; starting takes about 0.1 of it."""
MEMORY_BYTES = 512 << 20
"""Of address space, of which the interpreter itself takes about a tenth."""
OUTPUT_CHARACTERS = 1 << 20
"""Of all conversations of a request together."""
TODAY = datetime(2024, 7, 26)
"""What templates are told that the date is: always the same, because what is trained on today must be what is served
tomorrow, and a row must have the same ids in every run. It is the day that Llama 3.2's template falls back on where
there is no clock."""


class Refused(Exception):
    """The template itself refused a conversation, by its `raise_exception`."""


class TooLong(Exception):
    """More output than allowed."""


class _Undefined(Undefined):
    """A variable or field that is not there may be asked about, as it may be where the model was made: published
    templates do it (`if message.tool_calls`, `'citations' in controls`). It must not be written: a misspelt one is an
    error where it would leave a hole in the text."""

    def __str__(self) -> str:
        self._fail_with_undefined_error()


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what an assistant says; we find that by marks of our own."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 reads a class attribute)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def mark(number: int, quote: str = "") -> str:
    """What stands for a message's content. The spaces at its ends tell whether the template trims contents; a quotation
    mark within tells whether it writes them as JSON."""
    return f"\u2003\ue000{number}{quote}\ue001\u2003"


def limit() -> None:
    """Bound this process."""
    try:
        import resource  # noqa: PLC0415 (absent on some systems)
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja set up as transformers does, but for what is not there (`_Undefined`) and for the clock (`TODAY`)."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=_Undefined,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    made.filters["tojson"] = _tojson
    return made


def answer(request: dict[str, Any]) -> list[dict[str, str]]:
    """Render every view of every conversation of a request."""
    views = [view for asked in request["conversations"] for view in _views(asked)]
    try:
        template = environment().from_string(
            request["template"], globals={"raise_exception": _refuse, "strftime_now": TODAY.strftime}
        )
    except TemplateSyntaxError as error:
        return [_failed("syntax", f"line {error.lineno}: {error.message}")] * len(views)
    except (RecursionError, MemoryError) as error:
        return [_failed("limit", type(error).__name__)] * len(views)
    room = [OUTPUT_CHARACTERS]
    return [_render(template, request["names"], view, room) for view in views]


def _views(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """What a template is given for each text that is wanted of a conversation."""
    if "roles" in asked:
        messages = [{"role": role, "content": mark(number)} for number, role in enumerate(asked["roles"])]
        return [{"messages": messages, "tools": None, "ask": asked["ask"], "since": None}]
    turns = [
        {"content": mark(number, '"' if turn["role"] == "tool" else ""), **turn}
        for number, turn in enumerate(asked["turns"])
    ]
    return [
        {"messages": turns[:count], "tools": asked["tools"] or None, "ask": ask, "since": since}
        for count, ask, since in asked["views"]
    ]


def _since(text: str, number: int | None) -> str:
    """The text from the last mark of a turn on; nothing where there is none."""
    if number is None:
        return text
    at = max(text.rfind(f"\ue000{number}{behind}") for behind in ("\ue001", '"', "\\"))
    return text[at:] if at >= 0 else ""


def _render(template: Any, names: dict[str, str], asked: dict[str, Any], room: list[int]) -> dict[str, str]:
    pieces: list[str] = []
    left = room[0]
    try:
        for piece in template.generate(
            messages=asked["messages"],
            add_generation_prompt=asked["ask"],
            tools=asked["tools"],
            documents=None,
            **names,
        ):
            left -= len(piece)
            if left < 0:
                raise TooLong
            pieces.append(piece)
        text = _since("".join(pieces), asked["since"])
        room[0] -= len(text)
        return {"text": text}
    except Refused as error:
        return _failed("refused", str(error))
    except SecurityError as error:
        return _failed("security", str(error))
    except UndefinedError as error:
        return _failed("undefined", str(error))
    except TooLong:
        return _failed("limit", f"more than {OUTPUT_CHARACTERS:,} characters of output")
    except (MemoryError, RecursionError, OverflowError) as error:
        return _failed("limit", type(error).__name__)
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return _failed("failed", f"{type(error).__name__}: {error}")


def _failed(kind: str, message: str) -> dict[str, str]:
    return {"error": kind, "message": message[:400]}


def _refuse(message: str) -> None:
    raise Refused(message)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


if __name__ == "__main__":
    limit()
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
