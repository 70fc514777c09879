"""A server that speaks OpenAI's API: where it is, and requests that survive its bad moments. Knows HTTP; knows nothing
of what is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from socket import SHUT_RDWR, socket
from typing import Any
from weakref import WeakSet

import httpx2

from burnish.endpoints.keys import KEY, key_of
from burnish.endpoints.reply import RATE, Reply
from burnish.errors import ConfigError, MachineError, Problem, plain

ATTEMPTS = 6
FIRST_WAIT = 0.5
"""Seconds before the second attempt; each further wait is twice as long."""
RATE_WAITS = 4
"""Times as long where there were too many requests: most limits are by the minute, and not every server says so."""
LONGEST_WAIT = 60.0
"""Also of what a server asks for by Retry-After."""
TIMEOUT = httpx2.Timeout(600.0, connect=10.0)
"""Seconds between bytes of an answer: a long one on a busy server is slow, not lost."""
Wrong = Callable[[Mapping[str, Any]], str]
"""What is wrong with an answer that the next attempt may not have; nothing where it will do."""


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
        path = url.path.rstrip("/").removesuffix(_ASKED) or "/v1"
        plain_url = str(url.copy_with(path=path, fragment=None))
        return cls(url=plain_url.rstrip("#"), model=url.fragment or None, local=_is_here(host))


_EXAMPLE = "Write it as http://127.0.0.1:8000/v1#MODEL."
_ASKED = "/chat/completions"
"""Some give the whole address, to be pasted."""


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
        ConfigError as `key_of` does, and for a proxy of the environment that cannot be used."""
        key = key_of(address.url, local=address.local)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = TIMEOUT if seconds is None else httpx2.Timeout(seconds, connect=min(seconds, 10.0))
        # A proxy of the environment is for other machines: it could not reach this one's loopback.
        direct = httpx2.HTTPTransport() if address.local else None
        try:
            client = httpx2.Client(headers=headers, timeout=timeout, transport=direct)
        except (ImportError, ValueError) as error:  # SOCKS without its package; a scheme that is no proxy's
            mend = f"Unset ALL_PROXY and its like, or add {httpx2.URL(address.url).host} to NO_PROXY."
            raise ConfigError(Problem("the environment's proxy", plain(error, 120), mend)) from error
        return cls(address, client, first_wait)

    def get(self, path: str) -> Mapping[str, Any]:
        return self._asked("GET", path, None, _nothing)

    def post(self, path: str, body: Mapping[str, Any], wrong: Wrong | None = None) -> Mapping[str, Any]:
        return self._asked("POST", path, body, wrong or _nothing)

    def close(self) -> None:
        """Also ends the waits of other threads' requests, which then fail: a socket that is closed while another thread
        reads from it leaves that thread to wait for its time to run out, so each is shut down before."""
        self._closed.set()
        with self._noting:
            for each in self._sockets:
                _shut_down(each)
        self.client.close()

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None, wrong: Wrong) -> Mapping[str, Any]:
        """The server's JSON object. Raises as `Reply.object` does, MachineError for what stays bad."""
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
                if "CERTIFICATE_VERIFY_FAILED" in found:
                    raise MachineError(Problem(url, found, _UNKNOWN_AUTHORITY)) from error
            else:
                reply = Reply.of(response)
                if reply.busy:
                    usual_now = pause * RATE_WAITS if reply.status == RATE else pause
                    found, pause = reply.said, _seconds(response.headers.get("Retry-After"), usual_now)
                    continue
                value = reply.object(url)
                found = wrong(value)
                if not found:
                    return value
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


_UNKNOWN_AUTHORITY = "Name the file of the authority that signed its certificate in the variable SSL_CERT_FILE."


def _nothing(_: Mapping[str, Any]) -> str:
    return ""


def _shut_down(connection: socket) -> None:
    with suppress(OSError):  # the other side was first, or TLS has taken it over
        connection.shutdown(SHUT_RDWR)


def _seconds(text: str | None, usual: float) -> float:
    """What Retry-After asks for; the usual where it says nothing, or a date."""
    try:
        return float(text) if text else usual
    except ValueError:
        return usual


def _is_here(host: str) -> bool:
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified  # 0.0.0.0: where servers say that they listen
