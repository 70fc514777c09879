"""The real server under a crowd, and killed while people post."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import httpx2
import pytest

from burnish.store import events, people, queries
from burnish.store.session import Store, open_store
from burnish.store.views import Judgement

from .conftest import free_port
from .hidden_models import hidden, live

SERVE = """
import os, sys
from burnish.label.app import serve
from burnish.label.reach import Reach

for _ in sys.stdin:
    server = os.fork()
    if not server:
        print(os.getpid(), flush=True)
        serve(sys.argv[1], Reach(port=int(sys.argv[2])))
    os.waitpid(server, 0)
    print("gone", flush=True)
"""
"""A server a line, each in a process of its own, forked when all is imported: two hundred of them would import for
minutes."""
HIDDEN = re.compile(r'type="hidden" name="(\w+)" value="([^"]*)"')
ACTION = re.compile(r'id="judge" method="post" action="([^"]+)"')


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path) -> Iterator[Store]:
    sqlite = request.param == "sqlite"
    opened = open_store(tmp_path / "preferences.db" if sqlite else request.getfixturevalue("postgres")())
    yield opened
    opened.close()


@dataclass(slots=True)
class Server:
    """`burnish label serve` in a process of its own, on one port all its lives."""

    address: str
    port: int = field(default_factory=free_port)
    parent: subprocess.Popen[str] | None = None
    pid: int = 0

    def start(self) -> None:
        if self.parent is None:
            command = [sys.executable, "-c", SERVE, self.address, str(self.port)]
            self.parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.parent.stdin is not None
        self.parent.stdin.write("\n")
        self.parent.stdin.flush()
        self.pid = int(self._said())
        assert self._said(), self._said()  # where the pages are; then they listen

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        while self._said() != "gone":
            pass

    def end(self) -> None:
        assert self.parent is not None
        self.kill()
        self.parent.communicate()

    def _said(self) -> str:
        assert self.parent is not None
        assert self.parent.stdout is not None
        line = self.parent.stdout.readline()
        assert line, "the server's parent is gone"
        return line.strip()


@contextmanager
def served(store: Store) -> Iterator[Server]:
    server = Server(store.url.render_as_string(hide_password=False))
    server.start()
    try:
        yield server
    finally:
        server.end()


def visits(store: Store, count: int) -> list[str]:
    """Cookies of so many annotators; signing in is tested elsewhere."""
    with store.transaction() as write:
        found = [queries.add_annotator(write, f"person {number}", "person") for number in range(count)]
        return [people.enter(write, who) for who in found]


@dataclass(slots=True)
class Person:
    """Someone who judges until nothing is left, and sends again whatever was not acknowledged."""

    cookie: str
    port: int
    keyed: bool = True
    """Sends the same submission again; else a new one each time, as a page without ids of its own would."""
    loses: int = 0
    """Of so many acknowledgements one is lost on its way, as if the server had died between keeping and saying so."""
    acknowledged: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])

    def work(
        self, campaign: int, until: Callable[[], bool] = lambda: False, first: float = 0.0, every: float = 0.0
    ) -> None:
        """They come `first` seconds from now, and look at each task for `every` seconds before they answer."""
        time.sleep(first)
        due = time.monotonic() + every
        client = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            cookies={"burnish_session": self.cookie},
            trust_env=False,
            verify=False,  # there is no TLS here, and reading its certificates takes longer than fifty judgements
            timeout=30,
        )
        with client:
            while not until():
                page = self._sent(lambda: client.get(f"/campaigns/{campaign}")).text
                if not (action := ACTION.findall(page)):
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                self._judge(client, action[0], dict(HIDDEN.findall(page)))
                due += every

    def _judge(self, client: httpx2.Client, action: str, hidden: dict[str, str]) -> None:
        form = {**hidden, "act": "judge", "choice": "first"}

        def post() -> httpx2.Response:
            if not self.keyed:
                form["submission"] = str(uuid4())
            began = time.perf_counter()
            answer = client.post(action, data=form)
            self.seconds.append(time.perf_counter() - began)
            return answer

        answer = self._sent(post)
        if answer.status_code == 303 and self.loses and (len(self.acknowledged) + 1) % self.loses == 0:
            answer = self._sent(post)
        if answer.status_code == 303:
            self.acknowledged.append(form["submission"])
        else:
            self.refused.append(answer.text)

    def _sent(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        while True:
            try:
                return send()
            except httpx2.TransportError:
                time.sleep(0.02)  # the server is down


def kept_once(store: Store, campaign: int) -> list[Judgement]:
    """What the database holds: of each person one judgement an item, three an item at most, in a log that is whole."""
    with store.reading() as read:
        said = queries.judgements(read, campaign)
        assert len({(each.item, each.annotator) for each in said}) == len(said)
        assert max(Counter(each.item for each in said).values()) <= 3
        events.verify_log(read)
        if store.url.get_backend_name() == "sqlite":
            assert read.connection().exec_driver_sql("pragma integrity_check").scalar() == "ok"
    return said


@pytest.mark.parametrize(
    ("people", "each", "every", "limit"),
    [
        (4, 3, 0.0, None),
        pytest.param(50, 200, 0.0, None, marks=pytest.mark.proof),
        (3, 2, 0.5, None),
        pytest.param(50, 30, 1.0, 0.2, marks=pytest.mark.proof),
    ],
)
def test_a_crowd_fills_every_seat_once_and_meets_no_error(
    place: Store, fill: Callable[..., int], people: int, each: int, every: float, limit: float | None
):
    """So many people judge so many items each, three to an item: without a pause, or one answer of each `every`
    seconds. The limit is what 95 of 100 answers may take, in seconds."""
    items = people * each // 3
    campaign = fill(place, items=items, overlap=3)
    with served(place) as server:
        persons = [Person(cookie, server.port) for cookie in visits(place, people)]
        began = time.perf_counter()
        with ThreadPoolExecutor(people) as pool:
            firsts = [every * number / people for number in range(people)]
            list(pool.map(lambda person, first: person.work(campaign, first=first, every=every), persons, firsts))
        rate = items * 3 / (time.perf_counter() - began)
    refused = [each for person in persons for each in person.refused]
    assert not refused, f"{len(refused)} were refused: {refused[0]}"
    said = kept_once(place, campaign)
    assert len(said) == items * 3  # so that each item has its three
    late = statistics.quantiles([second for person in persons for second in person.seconds], n=20)[-1]
    offered = f"{people / every:.0f} a second offered" if every else "full speed"
    name = place.url.get_backend_name()
    print(f"{name}, {offered}: {len(said)} judgements, {rate:.0f} a second, p95 {late * 1000:.0f} ms")
    assert limit is None or late < limit


def killed(store: Store, fill: Callable[..., int], kills: int, *, keyed: bool = True) -> int:
    """How many judgements were acknowledged while the server was killed so many times: each is there, once, and nobody
    was told anything but that. Eight people judge and send again what they heard nothing of."""
    campaign = fill(store, items=40 + 20 * kills, overlap=3)
    server = Server(store.url.render_as_string(hide_password=False))
    server.start()
    enough: list[bool] = []
    persons = [Person(cookie, server.port, keyed, loses=2) for cookie in visits(store, 8)]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(person.work, campaign, lambda: bool(enough)) for person in persons]
        try:
            for kill in range(kills):
                before = sum(len(person.acknowledged) for person in persons)
                while sum(len(person.acknowledged) + len(person.refused) for person in persons) < before + 8:
                    time.sleep(0.005)
                time.sleep(0.0031 * (kill % 16))
                server.kill()
                server.start()
        finally:
            enough.append(True)
            for future in futures:
                future.result()
            server.end()
    acknowledged = [each for person in persons for each in person.acknowledged]
    assert set(acknowledged) <= {each.submission for each in kept_once(store, campaign)}
    assert len(acknowledged) == len(set(acknowledged))
    refused = [each for person in persons for each in person.refused]
    assert not refused, refused[0]
    return len(acknowledged)


KILLS = pytest.mark.parametrize("kills", [2, pytest.param(200, marks=pytest.mark.proof)])


@KILLS
def test_what_a_killed_server_acknowledged_is_there_once(place: Store, fill: Callable[..., int], kills: int):
    print(f"{place.url.get_backend_name()}, {kills} kills: {killed(place, fill, kills)} acknowledged, each there once")


def test_without_ids_of_submissions_the_same_test_fails(place: Store, fill: Callable[..., int]):
    """What the id is for: a person whose answer was kept, and who did not hear of it, is told that it is settled."""
    with pytest.raises(AssertionError, match="judged already"):
        killed(place, fill, 1, keyed=False)


def sent(send: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Again and again while the server is down."""
    until = time.monotonic() + 30
    while True:
        try:
            return send()
        except httpx2.TransportError:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_the_server_is_killed_while_models_write(place: Store):
    """What was acknowledged is there and answered once, whenever the server dies."""
    with hidden("ape", "bee") as models, served(place) as server:
        campaign = live(place, models)
        (cookie,) = visits(place, 1)
        client = httpx2.Client(
            base_url=f"http://127.0.0.1:{server.port}",
            cookies={"burnish_session": cookie},
            trust_env=False,
            timeout=30,
        )
        with client:
            for turn, delay in enumerate((0.0, 0.03, 0.1)):
                for model in models.values():
                    model.waiting.clear()
                shown = sent(lambda: client.get(f"/campaigns/{campaign}")).text
                form = dict(HIDDEN.findall(shown.partition('id="say"')[2].partition("</form>")[0]))
                form["message"] = f"question {turn}"
                answer = client.post(f"/campaigns/{campaign}/conversation", data=form)
                assert answer.status_code == 303
                client.get(f"/campaigns/{campaign}")
                time.sleep(delay)
                server.kill()
                for model in models.values():
                    model.waiting.set()
                server.start()
                again = sent(lambda form=form: client.post(f"/campaigns/{campaign}/conversation", data=form))
                assert again.status_code == 303, "it was sent twice, and is known"
                until = time.monotonic() + 30
                while 'id="judge"' not in (shown := client.get(f"/campaigns/{campaign}").text):
                    assert f"question {turn}" in shown
                    assert time.monotonic() < until
                    time.sleep(0.05)
                action = re.findall(r'id="judge" method="post" action="([^"]+)"', shown)[0]
                judged = {**dict(HIDDEN.findall(shown)), "act": "judge", "choice": "first"}
                assert client.post(action, data=judged).status_code == 303
    with place.reading() as read:
        prompts = sorted(each.prompt.messages[-1].content for each in queries.items(read, campaign))
        assert prompts == [f"question {turn}" for turn in range(3)]
        assert len(queries.judgements(read, campaign)) == 3
        events.verify_log(read)
