"""The key of a server: from the environment, where a variable may hold it for one host alone, and from nowhere else.
Knows no request."""

from __future__ import annotations

import os
import re

import httpx2

from burnish.errors import ConfigError, Problem

KEY = "BURNISH_API_KEY"
"""With the host's name behind it, letters and digits alone, it is that host's: BURNISH_API_KEY_API_EXAMPLE_ORG."""


def key_of(url: str, *, local: bool) -> str:
    """What the environment holds for this host alone, else for all; nothing where it holds nothing.

    Raises ConfigError for what cannot be sent, or would travel in the open to another machine.
    """
    own = f"{KEY}_{re.sub('[^A-Z0-9]+', '_', httpx2.URL(url).host.upper())}"
    name = own if own in os.environ else KEY
    key = os.environ.get(name, "").strip()
    if not key:
        return ""
    if not (key.isascii() and key.isprintable()):
        found = "holds a character that no key has, such as a line's end or one outside of ASCII"
        raise ConfigError(Problem(name, found, "Copy the key again, whole and alone."))
    if not local and url.startswith("http://"):
        found = f"{name} is set, and would travel over http for everybody to read"
        mend = f"Use https, or unset {name}; where {own} is set to nothing, this server is sent none."
        raise ConfigError(Problem(url, found, mend))
    return key
