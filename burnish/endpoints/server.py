"""A server that speaks OpenAI's API: where it is, and requests that survive its bad moments. Knows HTTP; knows nothing
of what is asked.

The key comes from the environment variable BURNISH_API_KEY and from nowhere else. It is sent over https, or in the open
to this machine alone; it is in no error and no log.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from socket import SHUT_RDWR, socket
from typing import Any, cast
from weakref import WeakSet

import httpx2

from burnish.errors import ConfigError, MachineError, Problem, plain

KEY = "BURNISH_API_KEY"
ATTEMPTS = 6
FIRST_WAIT = 0.5
"""Seconds before the second attempt; each further wait is twice as long."""
LONGEST_WAIT = 60.0
"""Also of what a server asks for by Retry-After."""
TIMEOUT = httpx2.Timeout(600.0, connect=10.0)
"""Seconds between bytes of an answer: a long one on a busy server is slow, not lost."""
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that the next attempt may not meet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`https://host/v1#model` taken apart."""

    url: str
    """Without a slash at the end."""
    model: str | None
    """What follows the #."""
    local: bool
    """Whether it is this machine."""

    @staticmethod
    def meant(text: str) -> bool:
        """Whether a model's name is an address."""
        return text.startswith(("http://", "https://"))

    @classmethod
    def parse(cls, text: str) -> Address:
        """Without a path, /v1 is meant. Raises ConfigError, which does not repeat what may be a password."""
        try:
            url = httpx2.URL(text)
            host = url.host
        except httpx2.InvalidURL as error:
            raise ConfigError(Problem(plain(text), f"is no address: {error}", _EXAMPLE)) from error
        if url.userinfo or url.query:
            where = f"{url.scheme}://{host}"
            found = "a password or a query stands in the address, where logs would keep it"
            raise ConfigError(Problem(where, found, f"Put the key into the environment variable {KEY}."))
        if not host:
            raise ConfigError(Problem(plain(text), "the address names no host", _EXAMPLE))
        path = url.path.rstrip("/") or "/v1"
        plain_url = str(url.copy_with(path=path, fragment=None))
        return cls(url=plain_url.rstrip("#"), model=url.fragment or None, local=_is_here(host))


_EXAMPLE = "Write it as http://127.0.0.1:8000/v1#MODEL."


@dataclass(slots=True)
class Server:
    """Requests to one address. Several threads may ask at once."""

    address: Address
    client: httpx2.Client
    first_wait: float = FIRST_WAIT
    _closed: threading.Event = field(default_factory=threading.Event)
    _sockets: WeakSet[socket] = field(default_factory=WeakSet[socket])
    _noting: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def at(cls, address: Address, *, first_wait: float = FIRST_WAIT, seconds: float | None = None) -> Server:
        """With the key that the environment holds; `seconds`: between bytes of an answer, in place of TIMEOUT's. Raises
        ConfigError where the key would travel in the open."""
        key = os.environ.get(KEY, "").strip()
        if key and not address.local and address.url.startswith("http://"):
            found = f"{KEY} is set, and would travel over http for everybody to read"
            raise ConfigError(Problem(address.url, found, f"Use https, or unset {KEY}."))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy of the environment is for other machines: it could not reach this one's loopback.
        timeout = TIMEOUT if seconds is None else httpx2.Timeout(seconds, connect=min(seconds, 10.0))
        client = httpx2.Client(headers=headers, timeout=timeout, trust_env=not address.local)
        return cls(address, client, first_wait)

    def get(self, path: str) -> Mapping[str, Any]:
        return self._asked("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._asked("POST", path, body)

    def close(self) -> None:
        """Also ends the waits of other threads' requests, which then fail: a socket that is closed while another thread
        reads from it leaves that thread to wait for its time to run out, so each is shut down before."""
        self._closed.set()
        with self._noting:
            for each in self._sockets:
                _shut_down(each)
        self.client.close()

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The server's JSON object. Raises ConfigError for what it refuses, MachineError for what stays bad."""
        url, found, usual, pause = f"{self.address.url}{path}", "", self.first_wait, 0.0
        for _ in range(ATTEMPTS):
            if pause and self._closed.wait(min(LONGEST_WAIT, pause)):
                break
            pause, usual = usual, 2 * usual
            try:
                response = self.client.request(method, url, json=body, extensions={"trace": self._connected})
            except httpx2.TimeoutException:
                found = "no answer in time"
            except httpx2.RequestError as error:
                found = f"could not be reached ({type(error).__name__}: {plain(error, 120)})"
            else:
                if response.status_code not in BUSY:
                    return _read(response, url)
                found, pause = _said(response), _seconds(response.headers.get("Retry-After"), pause)
        mend = "See that the server runs there and is not overloaded; then run the same command."
        raise MachineError(Problem(url, f"{found}, after {ATTEMPTS} attempts", mend))

    def _connected(self, event: str, about: Mapping[str, Any]) -> None:
        """Remembers the socket of each connection, or ends it where we were closed while it was being made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            made: socket = about["return_value"].get_extra_info("socket")
            with self._noting:
                self._sockets.add(made)
            if self._closed.is_set():
                _shut_down(made)


def _shut_down(connection: socket) -> None:
    with suppress(OSError):  # the other side was first, or TLS has taken it over
        connection.shutdown(SHUT_RDWR)


def _read(response: httpx2.Response, url: str) -> Mapping[str, Any]:
    status = response.status_code
    if status in (401, 403):
        held = "with the key" if "Authorization" in response.request.headers else "without a key"
        mend = f"Put the server's key into the environment variable {KEY}."
        raise ConfigError(Problem(url, f"refused {held}: {_said(response)}", mend))
    if response.is_redirect:
        where = plain(response.headers.get("Location", "elsewhere"))
        raise ConfigError(Problem(url, f"the server sends us on to {where}", "Give the address that it names."))
    if not response.is_success:
        mend = "Check the address; a server's own is often …/v1." if status == 404 else ""
        raise ConfigError(Problem(url, f"the server refused: {_said(response)}", mend))
    try:
        value = response.json()
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        found = f"no JSON object but {plain(response.text[:80]) or 'nothing'}"
        raise ConfigError(Problem(url, found, "Give the address of a server that speaks OpenAI's API."))
    return cast("dict[str, Any]", value)


def _said(response: httpx2.Response) -> str:
    """The status, and the server's own words as far as it has some."""
    try:
        value: Any = response.json()
    except (ValueError, RecursionError):
        return f"status {response.status_code}"
    for key in ("error", "message", "detail"):
        value = value.get(key, value) if isinstance(value, dict) else value
    return f"status {response.status_code}, {plain(value)}"


def _seconds(text: str | None, usual: float) -> float:
    """What Retry-After asks for; the usual where it says nothing, or a date."""
    try:
        return float(text) if text else usual
    except ValueError:
        return usual


def _is_here(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
