"""One choice of a chat completion as a `Completion`. Knows how servers say what ended an answer, and where they put a
refusal; asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.types import Completion, Sampling, Stop

_ENDED = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn"})
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
_FILTERED = frozenset({"content_filter", "sensitive", "safety", "recitation", "blocklist", "prohibited_content"})
_FAILED = frozenset({"error", "abort", "network_error", "insufficient_system_resource"})
"""The text up to there is no answer: the server broke off."""


def wrong(said: Mapping[str, Any]) -> str:
    """What another attempt may mend: no choice, or one that broke off at the server's side. Empty where all is well."""
    choices = said.get("choices")
    if "choices" in said and not choices:
        return "an answer without choices"
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and (choice.get("error") or _reason(choice) in _FAILED):
            error = choice.get("error")
            told = error.get("message", error) if isinstance(error, dict) else error
            return f"the server broke off ({told or _reason(choice)})"
    return ""


def completion(choice: Mapping[str, Any], sampling: Sampling, *, full: bool) -> Completion:
    """`full`: whether all tokens were spent, as far as that is known. Raises KeyError, TypeError, AttributeError or
    ValueError for what is no choice.

    A stop string that a server lets stand, or does not know, ends the text all the same.
    """
    message = choice["message"]
    said = _text(message.get("content")) or _text(message.get("refusal"))
    text = sampling.cut(said)
    given = (choice.get("logprobs") or {}).get("content") or ()
    return Completion(
        text=text,
        stop=Stop.STRING if text != said else _stop(choice, full=full),
        logprobs=tuple(float(each["logprob"]) for each in given),
    )


def _stop(choice: Mapping[str, Any], *, full: bool) -> Stop:
    """That all tokens were spent tells where the server has no word for how it ended, or one of its own."""
    reason = _reason(choice)
    if reason in _CUT or (full and reason not in _ENDED | _FILTERED):
        return Stop.LENGTH
    if reason in _FILTERED:
        return Stop.FILTER
    # vLLM says which stop string it was; others say "stop" for the end token and a stop string alike.
    return Stop.STRING if isinstance(choice.get("stop_reason"), str) else Stop.EOS


def _reason(choice: Mapping[str, Any]) -> str:
    """Gemini's may go on: "content_filter: RECITATION"."""
    return str(choice.get("finish_reason")).lower().partition(":")[0]


def _text(content: Any) -> str:
    """What a message says: a text, none, or parts, of which those of text count. What is no character that a file can
    hold, half a surrogate pair or a NUL, is U+FFFD."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": "" if content is None else content}]
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "\ufffd")
