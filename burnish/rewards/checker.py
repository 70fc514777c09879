"""The child process that checks answers, one at a time, within limits. Started by `checked`; knows no model.

Somebody's regular expression, schema or formula may keep a rule busy for ever, in C code that no exception reaches. So
the system's own timer runs while an answer is checked, in seconds of computing, which do not depend on how busy the
machine is; when it ends, it ends this process, and the parent counts the answer as wrong.

Covered: endless loops, memory. Not covered: where the system has no such timer (Windows) nothing stops a rule.

Protocol: JSON lines. First {"kind", "settings", "base", "seconds"}, answered by {} when the rule is ready. Then {"id",
"messages", "meta", "text", "ids"} each, answered by {"score"}. Either may be answered by {"problems"}: the user's to
mend.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError
from burnish.rewards.rules import RULES, Check
from burnish.types import Completion, Message, Prompt, Stop

SECONDS = 3.0
"""Of computing, for one answer."""
MEMORY_BYTES = 2 << 30
"""Of address space; the interpreter with sympy takes about a tenth."""


def main() -> None:
    """Answer standard input's lines until it ends."""
    limit()
    request = json.loads(sys.stdin.readline())
    check = _started(request)
    for line in sys.stdin:
        _say(_checked(check, json.loads(line), request["seconds"]))


def limit() -> None:
    """Bound this process's memory."""
    try:
        import resource  # noqa: PLC0415 (absent on some systems)
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _started(request: dict[str, Any]) -> Check:
    try:
        rule = RULES[request["kind"]].model_validate_json(json.dumps(request["settings"]))
        check = rule.check(Path(request["base"]))
    except BurnishError as error:
        _say(_problems(error))
        sys.exit(0)
    _say({})
    return check


def _checked(check: Check, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
    prompt = Prompt(id=asked["id"], messages=tuple(Message(**each) for each in asked["messages"]), meta=asked["meta"])
    answer = Completion(text=asked["text"], stop=Stop.EOS, ids=tuple(asked["ids"]))
    _arm(seconds)
    try:
        return {"score": check(prompt, answer)}
    except BurnishError as error:
        return _problems(error)
    finally:
        _arm(0)


def _problems(error: BurnishError) -> dict[str, Any]:
    return {"problems": [each.as_json() for each in error.problems]}


def _arm(seconds: float) -> None:
    """Let the system end this process after so many seconds of computing; 0: not at all."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _say(reply: dict[str, Any]) -> None:
    print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
