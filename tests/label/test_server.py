"""The real server under a crowd, and killed while people post."""

from __future__ import annotations

import re
import signal
import socket
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

SERVE = "import sys; from burnish.label.app import serve; serve(sys.argv[1], port=int(sys.argv[2]))"
HIDDEN = re.compile(r'type="hidden" name="(\w+)" value="([^"]*)"')
ACTION = re.compile(r'id="judge" method="post" action="([^"]+)"')


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path) -> Iterator[Store]:
    sqlite = request.param == "sqlite"
    opened = open_store(tmp_path / "preferences.db" if sqlite else request.getfixturevalue("postgres")())
    yield opened
    opened.close()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@dataclass(slots=True)
class Server:
    """`burnish label serve` in a process of its own, on one port all its lives."""

    address: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", SERVE, self.address, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline()
        assert self.process.stdout.readline()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@contextmanager
def served(store: Store) -> Iterator[Server]:
    server = Server(store.url.render_as_string(hide_password=False))
    server.start()
    try:
        yield server
    finally:
        server.kill()


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
    acknowledged: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])

    def work(self, campaign: int, until: Callable[[], bool] = lambda: False, pause: float = 0.0) -> None:
        client = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            cookies={"burnish_session": self.cookie},
            trust_env=False,
            timeout=30,
        )
        with client:
            while not until():
                page = self._sent(lambda: client.get(f"/campaigns/{campaign}")).text
                if not (action := ACTION.findall(page)):
                    return
                self._judge(client, action[0], dict(HIDDEN.findall(page)))
                time.sleep(pause)

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


def crowd(store: Store, fill: Callable[..., int], people: int, each: int, pause: float = 0.0) -> list[float]:
    """`people` judge `each`, three to an item: seconds of each submission."""
    items = people * each // 3
    campaign = fill(store, items=items, overlap=3)
    with served(store) as server:
        persons = [Person(cookie, server.port) for cookie in visits(store, people)]
        began = time.perf_counter()
        with ThreadPoolExecutor(people) as pool:
            list(pool.map(lambda person: person.work(campaign, pause=pause), persons))
        rate = items * 3 / (time.perf_counter() - began)
    assert [person.refused for person in persons if person.refused] == []
    with store.reading() as read:
        said = queries.judgements(read, campaign)
        events.verify_log(read)
    assert set(Counter(each.item for each in said).values()) == {3}
    assert len({(each.item, each.annotator) for each in said}) == len(said) == items * 3
    seconds = [each for person in persons for each in person.seconds]
    late = statistics.quantiles(seconds, n=20)[-1]
    print(f"{store.url.get_backend_name()}: {len(said)} judgements, {rate:.0f} a second, p95 {late * 1000:.0f} ms")
    return seconds


def test_a_crowd_fills_every_seat_once_and_meets_no_error(place: Store, fill: Callable[..., int]):
    crowd(place, fill, people=4, each=3)


@pytest.mark.proof
def test_fifty_people_at_full_speed(place: Store, fill: Callable[..., int]):
    crowd(place, fill, people=50, each=200)


@pytest.mark.proof
def test_fifty_submits_a_second_are_answered_at_once(place: Store, fill: Callable[..., int]):
    """Each of 50 people pauses a second between an answer and the next question."""
    seconds = crowd(place, fill, people=50, each=30, pause=1.0)
    assert statistics.quantiles(seconds, n=20)[-1] < 0.2


def killed(store: Store, fill: Callable[..., int], kills: int, *, keyed: bool) -> tuple[int, list[str]]:
    """(how many judgements were acknowledged, what the server refused) while it is killed so many times."""
    campaign = fill(store, items=60 + 40 * kills, overlap=3)
    server = Server(store.url.render_as_string(hide_password=False))
    server.start()
    enough: list[bool] = []
    persons = [Person(cookie, server.port, keyed) for cookie in visits(store, 8)]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(person.work, campaign, lambda: bool(enough)) for person in persons]
        try:
            for kill in range(kills):
                before = sum(len(person.acknowledged) for person in persons)
                while sum(len(person.acknowledged) for person in persons) < before + 8:
                    time.sleep(0.005)
                time.sleep(0.0031 * (kill % 16))
                server.kill()
                server.start()
        finally:
            enough.append(True)
            for future in futures:
                future.result()
            server.kill()
    acknowledged = [each for person in persons for each in person.acknowledged]
    with store.reading() as read:
        said = queries.judgements(read, campaign)
        assert set(acknowledged) <= {each.submission for each in said}
        assert len({(each.item, each.annotator) for each in said}) == len(said)
        assert max(Counter(each.item for each in said).values()) <= 3
        events.verify_log(read)
        if store.url.get_backend_name() == "sqlite":
            assert read.connection().exec_driver_sql("pragma integrity_check").scalar() == "ok"
    return len(acknowledged), [each for person in persons for each in person.refused]


def test_what_a_killed_server_acknowledged_is_there_once(place: Store, fill: Callable[..., int]):
    acknowledged, refused = killed(place, fill, 1, keyed=True)
    assert acknowledged >= 8
    assert refused == []


@pytest.mark.proof
def test_two_hundred_kills(place: Store, fill: Callable[..., int]):
    acknowledged, refused = killed(place, fill, 200, keyed=True)
    print(f"{place.url.get_backend_name()}: {acknowledged} acknowledged, {len(refused)} refused, none lost or doubled")
    assert refused == []


@pytest.mark.proof
def test_without_its_own_id_a_submission_sent_again_is_refused(place: Store, fill: Callable[..., int]):
    """What the id is for: a person whose answer was kept just before the kill would be told that it is settled."""
    _, refused = killed(place, fill, 100, keyed=False)
    assert any("judged already" in each for each in refused)
