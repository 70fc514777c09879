"""Whom a key is sent to, and that nobody is shown it."""

from __future__ import annotations

from email.message import Message as Headers
from typing import Any

import pytest
from loopback import Reply, replying
from servers import said

from burnish.endpoints.chat import ChatEndpoint
from burnish.endpoints.keys import KEY, key_of
from burnish.endpoints.server import Address, Server
from burnish.errors import ConfigError
from burnish.types import Message, Sampling

SECRET = "sk-not-to-be-seen"
OTHER = "sk-of-another"


def test_a_host_may_have_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setenv(f"{KEY}_API_EXAMPLE_ORG", OTHER)
    assert key_of("https://api.example.org/v1", local=False) == OTHER
    assert key_of("https://api.example.com/v1", local=False) == SECRET
    monkeypatch.delenv(KEY)
    assert key_of("https://api.example.com/v1", local=False) == ""


def test_a_host_may_be_sent_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a judge elsewhere may have a key, and a server in the house be asked in the open."""
    monkeypatch.setenv(KEY, SECRET)
    with pytest.raises(ConfigError, match=f"{KEY}_10_0_0_5 is set to nothing"):
        key_of("http://10.0.0.5:8000/v1", local=False)
    monkeypatch.setenv(f"{KEY}_10_0_0_5", "")
    assert key_of("http://10.0.0.5:8000/v1", local=False) == ""


@pytest.mark.parametrize("key", ["sk-…", "sk-a\nsk-b"])
def test_what_cannot_be_a_key_is_told_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(KEY, key)
    with pytest.raises(ConfigError, match="a character that no key has") as caught:
        key_of("https://api.example.org/v1", local=False)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 503])
def test_a_server_that_repeats_the_key_is_not_repeated(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv(KEY, SECRET)

    def reply(headers: Headers, _: Any) -> Reply:
        return Reply.of({"error": {"message": f"Invalid token: {headers['Authorization']}"}}, status)

    with replying(reply) as url:
        endpoint = ChatEndpoint.open(f"{url}/v1#small", first_wait=0.001)
        with pytest.raises(Exception, match=r"Invalid token: Bearer …") as caught:
            endpoint.answer([Message(role="user", content="hello")], Sampling())
        endpoint.close()
    assert SECRET not in f"{caught.value!r}{caught.value.__dict__}"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "127.0.0.1", "localhost", "[::1]"])
def test_this_machine_has_many_names(host: str) -> None:
    assert Address.parse(f"http://{host}:8000").local


def test_a_proxy_is_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with replying(lambda *_: said("well")) as url:
        endpoint = ChatEndpoint.open(f"{url}/v1#small", first_wait=0.001)
        assert endpoint.answer([Message(role="user", content="hello")], Sampling()).text == "well"
        endpoint.close()


def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks4://me:hidden@127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"NO_PROXY") as caught:
        Server.at(Address.parse("https://api.example.org/v1"))
    assert "hidden" not in str(caught.value)
