"""What a server that speaks OpenAI's API sends back: a JSON object, a refusal, or a bad moment. Knows how servers and
gateways tell an error, each in its own way; knows nothing of what was asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx2

from burnish.endpoints.keys import KEY
from burnish.errors import ConfigError, Problem, plain

BUSY = frozenset({408, 409, 425, 429})
"""Statuses that the next attempt may not meet, beside all from 500 on but those of FOR_GOOD."""
FOR_GOOD = frozenset({501, 505})
RATE = 429
NO_MOMENT = re.compile("insufficient_quota|billing_hard_limit|billing_not_active|[Oo]nly one completion choice")
"""What no wait mends: a quota that is used up, status 429, and more than one choice from llama.cpp, status 500."""


class Refused(ConfigError):
    """A server's no, with all of its words: asked otherwise, it may say yes."""

    def __init__(self, problem: Problem, status: int = 0, words: str = "") -> None:
        super().__init__(problem)
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back for one request."""

    response: httpx2.Response
    value: Any
    """The JSON; None where it is none."""
    status: int
    """A gateway whose model fails late has sent its 200 already: then what the error within says, 400 where that says
    nothing."""

    @classmethod
    def of(cls, response: httpx2.Response) -> Reply:
        try:
            value: Any = response.json()
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, list):  # Gemini's errors are lists of one
            value = next((each for each in cast("list[Any]", value)[:1] if isinstance(each, dict)), None)
        status = response.status_code
        if response.is_success and isinstance(value, dict) and value.get("error") and not value.get("choices"):
            error = cast("dict[str, Any]", value)["error"]
            code = str(error.get("code")) if isinstance(error, dict) else ""
            status = int(code) if re.fullmatch("[45][0-9][0-9]", code) else 400
        return cls(response=response, value=value, status=status)

    @property
    def busy(self) -> bool:
        """Whether the next attempt may find something better."""
        if self.response.is_success and self.value is None and self.response.content.strip()[:1] in (b"", b"{"):
            return True  # cut; or blank lines alone, which kept the connection open until the server gave up
        if NO_MOMENT.search(self.words):
            return False
        return self.status in BUSY or (self.status >= 500 and self.status not in FOR_GOOD)

    @property
    def words(self) -> str:
        """All that the server says, without the key, which some repeat."""
        return self._kept(self.response.text)

    @property
    def said(self) -> str:
        """The status, and the server's own words as far as it has some."""
        if self.status < 400:
            return "an answer that is empty, or cut"
        value = self.value
        if value is None:
            return f"status {self.status}"
        for key in ("error", "message", "detail"):
            value = value.get(key, value) if isinstance(value, dict) else value
        return f"status {self.status}, {plain(self._kept(str(value)))}"

    def object(self, url: str) -> Mapping[str, Any]:
        """The JSON object. Raises Refused for a refusal, ConfigError for what is none of OpenAI's API."""
        status = self.status
        if status in (401, 403):
            held = "with the key" if "Authorization" in self.response.request.headers else "without a key"
            mend = f"Put the server's key into the environment variable {KEY}."
            raise Refused(Problem(url, f"refused {held}: {self.said}", mend), status, self.words)
        if self.response.is_redirect:
            where = plain(self.response.headers.get("Location", "elsewhere"))
            raise ConfigError(Problem(url, f"the server sends us on to {where}", "Give the address that it names."))
        if not 200 <= status < 300:
            mend = "Check the address; a server's own is often …/v1." if status == 404 else ""
            raise Refused(Problem(url, f"the server refused: {self.said}", mend), status, self.words)
        if not isinstance(self.value, dict):
            found = f"no JSON object but {plain(self.response.text[:80]) or 'nothing'}"
            raise ConfigError(Problem(url, found, "Give the address of a server that speaks OpenAI's API."))
        return cast("dict[str, Any]", self.value)

    def _kept(self, text: str) -> str:
        _, _, key = self.response.request.headers.get("Authorization", "").partition(" ")
        return text.replace(key, "…") if key else text
