"""Servers as they are met, on the loopback: what each refuses, in which words, and how it says what it answers. Taken
from their documentation and from what people report of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from loopback import Reply, replying

PLAIN = {"model", "messages", "temperature", "top_p", "max_tokens", "stop"}
OPENAI = PLAIN | {"n", "seed", "logprobs", "max_completion_tokens"}
Rule = Callable[[dict[str, Any]], Reply | None]
"""What is wrong with a request."""


@dataclass
class Behaving:
    """A server of these rules, which answers with the seed it was given."""

    rules: list[Rule]
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What it took, without model and messages."""
    refused: int = 0
    models: list[str] = field(default_factory=lambda: ["small"])
    url: str = ""

    def reply(self, headers: Message, asked: dict[str, Any] | None) -> Reply:
        if asked is None:
            return Reply.of({"data": [{"id": name} for name in self.models]})
        for rule in self.rules:
            if (found := rule(asked)) is not None:
                self.refused += found.status >= 400
                return found
        self.asked.append({name: value for name, value in asked.items() if name not in ("model", "messages")})
        return said(*[f"{asked.get('seed', 'any')}:{k}" for k in range(asked.get("n", 1))])


@contextmanager
def behaving(*rules: Rule) -> Iterator[Behaving]:
    server = Behaving(list(rules))
    with replying(server.reply) as address:
        server.url = f"{address}/v1#small"
        yield server


def said(*texts: str, **more: Any) -> Reply:
    """A chat completion; `more` is of its first choice or, where it is no part of one, of the whole."""
    whole = {name: more.pop(name) for name in ("usage", "system_fingerprint") if name in more}
    choices: list[dict[str, Any]] = [
        {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for k, text in enumerate(texts)
    ]
    choices[0] |= more
    return Reply.of({"object": "chat.completion", "choices": choices, **whole})


def refusal(message: str, status: int = 400, **more: Any) -> Reply:
    return Reply.of({"error": {"message": message, "type": "invalid_request_error", "param": None, **more}}, status)


def openai_reasoning(asked: dict[str, Any]) -> Reply | None:
    if "max_tokens" in asked:
        words = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refusal(words, param="max_tokens", code="unsupported_parameter")
    if strange := sorted(asked.keys() - OPENAI):
        return refusal(f"Unrecognized request arguments supplied: {', '.join(strange)}")
    if asked.get("temperature", 1) != 1:
        words = "'temperature' does not support 0 with this model. Only the default (1) value is supported."
        return refusal(words, param="temperature", code="unsupported_value")
    for name in ("top_p", "stop", "logprobs"):
        if name in asked:
            return refusal(f"Unsupported parameter: '{name}' is not supported with this model.", param=name)
    if asked["max_completion_tokens"] < 16:
        words = "Could not finish the message because max_tokens or model output limit was reached."
        return refusal(words)
    return None


def mistral(asked: dict[str, Any]) -> Reply | None:
    strange = sorted(asked.keys() - PLAIN - {"n", "random_seed"})
    detail = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in strange
    ]
    return Reply.of({"object": "error", "message": {"detail": detail}, "code": None}, 422) if detail else None


def gemini(asked: dict[str, Any]) -> Reply | None:
    strange = sorted(asked.keys() - PLAIN - {"n"})
    words = "\n".join(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in strange)
    return (
        Reply.of([{"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}], 400) if strange else None
    )


def groq(asked: dict[str, Any]) -> Reply | None:
    for name in sorted(asked.keys() - OPENAI):
        return refusal(f"property '{name}' is unsupported")
    return refusal("'n' : number must be at most 1") if asked.get("n", 1) > 1 else None


def llama_cpp(asked: dict[str, Any]) -> Reply | None:
    words = "Only one completion choice is allowed"
    return refusal(words, 500, code=500) if asked.get("n", 1) != 1 else None


def claude(asked: dict[str, Any]) -> Reply | None:
    if {"temperature", "top_p"} <= asked.keys():
        return refusal("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    return refusal("n: Must be exactly 1") if asked.get("n", 1) != 1 else None


def tgi(asked: dict[str, Any]) -> Reply | None:
    if asked.get("top_p", 0.5) in (0, 1):
        words = "Input validation error: `top_p` must be > 0.0 and < 1.0"
        return Reply.of({"error": words, "error_type": "validation"}, 422)
    return None


def litellm(asked: dict[str, Any]) -> Reply | None:
    strange = sorted(asked.keys() - OPENAI)
    words = f"litellm.UnsupportedParamsError: openai does not support parameters: {strange}, for model=small."
    return refusal(words, code="400") if strange else None


def wordless(asked: dict[str, Any]) -> Reply | None:
    """A gateway that keeps to itself what it does not like."""
    return refusal("Bad Request") if asked.keys() - PLAIN else None


def azure_behind_openrouter(asked: dict[str, Any]) -> Reply | None:
    if asked["max_tokens"] >= 16:
        return None
    inner = "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 4 instead."
    raw = json.dumps({"error": {"message": inner, "code": "integer_below_min_value"}})
    return refusal("Provider returned error", code=400, metadata={"raw": raw, "provider_name": "Azure"})


def fits(tokens: int) -> Rule:
    """vLLM's limit on prompt and answer together."""

    def rule(asked: dict[str, Any]) -> Reply | None:
        words = f"'max_tokens' or 'max_completion_tokens' is too large: {asked['max_tokens']}."
        return (
            refusal(f"{words} This model's maximum context length is {tokens}.")
            if asked["max_tokens"] > tokens
            else None
        )

    return rule


def thinks(least: int, answer: str = "A", **thought: Any) -> Rule:
    """A model that answers once it has had so many tokens for its thoughts."""

    def rule(asked: dict[str, Any]) -> Reply:
        cut = {"message": {"role": "assistant", "content": None, **thought}, "finish_reason": "length"}
        return said("", **cut) if asked["max_tokens"] < least else said(answer)

    return rule
