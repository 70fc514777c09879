"""Running the server."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from burnish.errors import ConfigError, MachineError
from burnish.label.app import _listen, serve
from burnish.store.session import Store


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_it_listens_on_this_machine_only(store: Store, host: str):
    with pytest.raises(ConfigError, match="other machines"):
        serve(Path(store.place), host=host)


def test_a_taken_port_is_said(store: Store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MachineError, match="cannot be opened"):
            serve(Path(store.place), port=taken.getsockname()[1])


def test_a_page_does_not_wait_for_the_last_one_to_be_acknowledged():
    """asyncio turns Nagle's algorithm off only where the socket names its protocol; with it a page that comes on an old
    connection takes 40 ms longer."""
    with closing(_listen("127.0.0.1", 0)) as listening, closing(asyncio.new_event_loop()) as loop:
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
def serving(place: str) -> Iterator[list[str]]:
    """The two lines that the server prints when it listens."""
    code = f"from burnish.label.app import serve; serve({place!r}, port=0)"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield [server.stdout.readline(), server.stdout.readline()]
        server.send_signal(signal.SIGINT)
        server.wait(20)
    finally:
        server.kill()
        server.communicate()


def test_the_first_to_come_is_the_owner_and_the_next_time_signs_in(store: Store):
    with httpx2.Client(trust_env=False) as client:
        with serving(store.place) as said:
            assert "works once" in said[0]
            link = re.search(r"http://127\.0\.0\.1:\d+/join\?once=(\S+)", said[1])
            assert link
            page = client.get(link.group()).text
            assert "Your name" in page
            form = {"once": link.group(1), "name": "Olga", "password": "correct horse"}
            assert client.post(link.group().split("?")[0], data=form).status_code == 303
        with serving(store.place) as said:
            assert "once" not in said[1]
            assert "Sign out" in client.get(said[1].strip()).text  # the visit outlived the restart
