"""Running the server: where it listens, under which names, and who is believed to be whom."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from fastapi.testclient import TestClient

from burnish.errors import ConfigError, MachineError
from burnish.label.app import configured, create_app, link, serve
from burnish.label.passwords import TRIES
from burnish.label.reach import Reach, is_loopback
from burnish.label.shield import IN_THE_OPEN
from burnish.store.session import Store

from .conftest import PASSWORD, free_port

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "people.md").read_text()
NAME = "labels.example.org"
PAIR = {"certificate": Path("certificate.pem"), "key": Path("key.pem")}
"""For what does not look into the files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate for NAME and the loopback, and its key, of an authority that `trust` knows."""

    certificate: Path
    key: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return made(tmp_path_factory.mktemp("pair"))


def made(folder: Path) -> Pair:
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    issued = authority.issue_cert(NAME, "127.0.0.1")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return Pair(certificate=certificate, key=key, trust=trust)


def test_a_page_does_not_wait_for_the_last_one_to_be_acknowledged():
    """asyncio turns Nagle's algorithm off only where the socket names its protocol; with it a page that comes on an old
    connection takes 40 ms longer."""
    with closing(Reach(port=0).listen()) as listening, closing(asyncio.new_event_loop()) as loop:
        assert loop.run_until_complete(_delays(loop, listening)) == 0


async def _delays(loop: asyncio.AbstractEventLoop, listening: socket.socket) -> int:
    """Whether the server's end of a connection waits for more to send."""
    found = loop.create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found.set_result(not transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async with await loop.create_server(Protocol, sock=listening):
        with socket.create_connection(listening.getsockname()):
            return await found


@contextmanager
def serving(place: str, *options: str) -> Iterator[list[str]]:
    """The two lines that the server prints when it listens, on any port that is free."""
    command = [sys.executable, "-m", "burnish", "label", "serve", place, "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield [server.stdout.readline(), server.stdout.readline()]
        server.send_signal(signal.SIGINT)
        server.wait(20)
    finally:
        server.kill()
        server.communicate()


def once(said: list[str], address: str) -> tuple[str, str]:
    """The port where it listens, if its link names one, and the token of its link, which begins with this."""
    found = re.fullmatch(rf" *{address}(?::(\d+))?/join\?once=(\S+)\n", said[1])
    assert found, said
    return found.group(1) or "", found.group(2)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_without_a_certificate_it_listens_on_this_machine_only(store: Store, host: str):
    for reach in (Reach(host=host), Reach(host=host, called=(NAME,))):
        with pytest.raises(ConfigError, match=r"other machines.*--certificate FILE.*a proxy.*ssh -L 8600"):
            serve(store.place, reach)
        with pytest.raises(ConfigError, match="other machines"):
            link(store, "annotator", "", reach)


def test_a_taken_port_is_said(store: Store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MachineError, match="cannot be opened"):
            serve(Path(store.place), Reach(port=taken.getsockname()[1]))


def said_to(port: str, sent: bytes) -> bytes:
    """What a server answers to these bytes, until it closes the connection or has nothing more to say."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
        with suppress(ConnectionError):  # it has heard enough
            connection.sendall(sent)
        with suppress(ConnectionError):
            return connection.recv(1000)
    return b""


def test_nobody_sends_more_than_it_would_keep(store: Store):
    """Neither headers without end, nor a body in chunks behind a small length."""
    with serving(store.place) as said:
        port, _ = once(said, r"http://127\.0\.0\.1")
        begin = f"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
        assert not said_to(port, begin + b"X: " + b"a" * 5_000_000).startswith(b"HTTP/1.1 2")
        both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nname=\r\n0\r\n\r\n"
        assert said_to(port, begin + both).startswith(b"HTTP/1.1 413")
        answer = said_to(port, begin + b"Content-Length: 5\r\n\r\nname=")
        assert answer.startswith(b"HTTP/1.1 "), "and what is sent as it should be is heard"
        assert b" 413 " not in answer[:20]


def test_the_first_to_come_is_the_owner_and_the_next_time_signs_in(store: Store):
    with httpx2.Client(trust_env=False) as client:
        with serving(store.place) as said:
            assert "works once" in said[0]
            port, token = once(said, r"http://127\.0\.0\.1")
            page = client.get(f"http://127.0.0.1:{port}/join", params={"once": token}).text
            assert "Your name" in page
            form = {"once": token, "name": "Olga", "password": PASSWORD}
            assert client.post(f"http://127.0.0.1:{port}/join", data=form).status_code == 303
        with serving(store.place) as said:
            assert "once" not in said[1]
            assert "Sign out" in client.get(said[1].strip()).text  # the visit outlived the restart


def test_over_https_people_sign_in_by_a_name_of_the_server_and_by_no_other(store: Store, pair: Pair):
    """By the command that stands in the guide, but that it listens on the loopback."""
    (line,) = re.findall(r"^burnish label serve runs/people (.* --certificate .*)$", GUIDE, re.MULTILINE)
    places = {"0.0.0.0": "127.0.0.1", "certificate.pem": str(pair.certificate), "key.pem": str(pair.key)}
    options = [places.get(word, word) for word in shlex.split(line)]
    with serving(store.place, *options) as said:
        port, token = once(said, f"https://{re.escape(NAME)}")
        here = {"host": f"{NAME}:{port}", "origin": f"https://{NAME}:{port}"}
        with httpx2.Client(trust_env=False, verify=pair.trust, base_url=f"https://127.0.0.1:{port}") as client:
            form = {"once": token, "name": "Olga", "password": PASSWORD}
            assert client.post("/join", data=form, headers=here).status_code == 303
            client.cookies.clear()
            entered = client.post("/sign-in", data=form, headers=here)
            assert entered.status_code == 303
            assert "secure" in entered.headers["set-cookie"].lower()
            assert "Sign out" in client.get("/", headers=here).text
            for other in ("evil.example", f"evil.{NAME}", "0.0.0.0"):
                assert client.get("/", headers={"host": f"{other}:{port}"}).status_code == 400
            for origin in (f"http://{NAME}:{port}", f"https://{NAME}", "https://evil.example"):
                assert client.post("/sign-in", data=form, headers={**here, "origin": origin}).status_code == 403


def test_behind_a_proxy_that_encrypts_forms_are_ours_and_cookies_secure(store: Store):
    port = free_port()
    with serving(store.place, "--port", str(port), "--called", NAME) as said:
        listens, token = once(said, f"https://{re.escape(NAME)}")
        assert listens == "", "the proxy's port is the usual one"
        form = {"once": token, "name": "Olga", "password": PASSWORD}
        here = {"host": NAME, "x-forwarded-for": "203.0.113.9", "origin": f"https://{NAME}"}
        with httpx2.Client(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
            for proto in ({}, {"x-forwarded-proto": "http"}):
                refused = client.get("/", headers={**here, **proto})
                assert (refused.status_code, refused.text) == (403, IN_THE_OPEN)
            here |= {"x-forwarded-proto": "https"}
            assert client.post("/join", data=form, headers={**here, "origin": f"http://{NAME}"}).status_code == 403
            entered = client.post("/join", data=form, headers=here)
            assert entered.status_code == 303
            assert "secure" in entered.headers["set-cookie"].lower()


@pytest.fixture
def behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TestClient]:
    """Someone's browser, with whoever the server has before it. The environment would have it believe everybody."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    reach = Reach(called=(NAME,))
    config = configured(create_app(store, reach.names), reach)
    config.load()

    def asking(peer: str, scheme: str = "https", **headers: str) -> TestClient:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return TestClient(config.loaded_app, base_url=f"{scheme}://{NAME}", client=(peer, 50000), headers=named)

    return asking


def test_a_proxy_on_this_machine_is_believed_and_nobody_else(behind: Callable[..., TestClient]):
    for peer, status in (("127.0.0.1", 401), ("::1", 401), ("10.0.0.9", 403), ("::ffff:10.0.0.9", 403)):
        assert behind(peer, "http", x_forwarded_proto="https").get("/people").status_code == status, peer


@pytest.mark.parametrize(
    ("peer", "said", "other"),
    [("10.0.0.9", "203.0.113.{}", "10.0.0.8"), ("127.0.0.1", "203.0.113.{}, 198.51.100.7", "127.0.0.1")],
    ids=["directly", "by a proxy"],
)
def test_who_makes_up_addresses_guesses_no_more_often(
    behind: Callable[..., TestClient], peer: str, said: str, other: str
):
    """A proxy puts the address that it saw behind what it was told."""

    def guess(client: TestClient, name: str) -> str:
        return client.post("/sign-in", data={"name": name, "password": "guess guess"}).text

    for number in range(TRIES):
        assert "five minutes" not in guess(behind(peer, x_forwarded_for=said.format(number)), f"Nobody {number}")
    assert "five minutes" in guess(behind(peer, x_forwarded_for=said.format(99)), "Nobody at all")
    assert "five minutes" not in guess(behind(other, x_forwarded_for="198.51.100.8"), "Nobody at all")


@pytest.mark.parametrize(
    ("reach", "address"),
    [
        (Reach(), "http://127.0.0.1:8600"),
        (Reach(host="::1", port=80), "http://[::1]:80"),
        (Reach(called=("localhost",)), "http://localhost:8600"),
        (Reach(called=(NAME, "other.example.org")), f"https://{NAME}"),
        (Reach(**PAIR), "https://127.0.0.1:8600"),
        (Reach(host="192.168.1.5", **PAIR), "https://192.168.1.5:8600"),
        (Reach(host="192.168.1.5", called=("Labels.Example.org",), port=443, **PAIR), f"https://{NAME}"),
        (Reach(host="::", called=("2001:DB8:0::1",), **PAIR), "https://[2001:db8::1]:8600"),
    ],
)
def test_links_begin_with_what_people_can_open(store: Store, reach: Reach, address: str):
    assert link(store, "annotator", "", reach).startswith(f"{address}/join?once=")


@pytest.mark.parametrize("name", ["*", "*.example.org", f"https://{NAME}/", f"{NAME}:8600", "", "münchen.example"])
def test_what_is_no_name_is_refused(store: Store, name: str):
    with pytest.raises(ConfigError, match="not the name of a host alone"):
        serve(store.place, Reach(called=(name,)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_need_a_name(store: Store, host: str):
    with pytest.raises(ConfigError, match="--called"):
        serve(store.place, Reach(host=host, **PAIR))


def test_a_certificate_and_its_key_may_be_one_file(pair: Pair, tmp_path: Path):
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    Reach(certificate=both).check_certificate()
    Reach(certificate=pair.certificate, key=both).check_certificate()


def test_files_that_will_not_do_are_named(store: Store, pair: Pair, tmp_path: Path):
    def refused(certificate: Path | None, key: Path | None) -> str:
        with pytest.raises(ConfigError) as error:
            serve(store.place, Reach(certificate=certificate, key=key))
        assert all(problem.mend for problem in error.value.problems)
        return str(error.value)

    nowhere, damaged, locked = tmp_path / "nowhere.pem", tmp_path / "damaged.pem", tmp_path / "locked.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    locked.write_bytes(
        load_pem_private_key(pair.key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct horse")
        )
    )
    (tmp_path / "other").mkdir()
    other = made(tmp_path / "other")
    assert "no certificate that it is of" in refused(None, pair.key)
    assert f"{nowhere}: cannot be read" in refused(nowhere, pair.key)
    assert refused(nowhere, None).count("cannot be read") == 1
    assert f"{tmp_path}: cannot be read" in refused(pair.certificate, tmp_path)
    assert f"{pair.certificate}: there is no private key in PEM in it" in refused(pair.certificate, None)
    assert refused(pair.key, pair.certificate).count("in PEM in it") == 2, "all that is wrong is said at once"
    assert f"{other.key}: this is not the key of {pair.certificate}" in refused(pair.certificate, other.key)
    assert "one of them is damaged" in refused(damaged, pair.key)
    assert f"{locked}: this key has a passphrase" in refused(pair.certificate, locked)


def test_the_loopback_is_known_in_all_its_spellings():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "10.0.0.9", "::ffff:10.0.0.9", "localhost.example.org")))
