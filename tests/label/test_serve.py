"""Running the server."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from burnish.errors import ConfigError, MachineError
from burnish.label.app import serve
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


def test_it_serves_the_link_that_it_prints_until_interrupted(store: Store, fill: Callable[..., int]):
    fill(store)
    code = f"from pathlib import Path; from burnish.label.app import serve; serve(Path({store.place!r}), port=0)"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert "works once" in server.stdout.readline()
        link = re.search(r"http://127\.0\.0\.1:\d+/\?once=\S+", server.stdout.readline())
        assert link
        with httpx2.Client(trust_env=False) as client:
            assert "Your name" in client.get(link.group()).text
        server.send_signal(signal.SIGINT)
        server.wait(20)
    finally:
        server.kill()
        server.communicate()
