"""A model behind a server, on the loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.message import Message as Headers
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from loopback import Reply, replying
from stub import Stub, serving

from burnish.__main__ import code_of
from burnish.endpoints import server as requests
from burnish.endpoints.chat import AT_ONCE, ChatEndpoint
from burnish.endpoints.dialect import ALL
from burnish.endpoints.keys import KEY
from burnish.endpoints.server import Address, Server
from burnish.errors import BurnishError, ConfigError, MachineError
from burnish.pipeline import talk
from burnish.types import Message, Sampling, Stop

SECRET = "sk-not-to-be-seen"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.delenv(KEY, raising=False)
    with serving(Stub()) as found:
        yield found


@pytest.fixture
def endpoint(stub: Stub) -> Iterator[ChatEndpoint]:
    found = ChatEndpoint.open(stub.url, first_wait=0.001)
    yield found
    found.close()


def asks(*texts: str) -> list[list[Message]]:
    return [[Message(role="system", content="Be brief."), Message(role="user", content=text)] for text in texts]


def test_answers_come_in_the_prompts_order(endpoint: ChatEndpoint, stub: Stub) -> None:
    texts = [f"q{k}" for k in range(20)]
    rows = endpoint.generate(asks(*texts), Sampling(seed=5), n=2)
    assert [[answer.text for answer in row] for row in rows] == [[f"{text}:5:0", f"{text}:5:1"] for text in texts]
    assert all(answer.stop is Stop.EOS and answer.ids == () for row in rows for answer in row)
    assert stub.asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_each_prompt_may_have_a_seed_of_its_own(endpoint: ChatEndpoint) -> None:
    rows = endpoint.generate(asks("q", "q", "r"), Sampling(seed=5), seeds=[5, 8, 5])
    assert [answer.text for [answer] in rows] == ["q:5:0", "q:8:0", "r:5:0"]


def test_what_is_asked_for_is_sent_and_the_rest_as_nothing(endpoint: ChatEndpoint, stub: Stub) -> None:
    endpoint.generate(asks("q"), Sampling(temperature=0.5, top_p=0.9, max_new_tokens=7, seed=2**40 + 3))
    del stub.asked[0]["messages"]
    nothing = {"top_k": ALL, "min_p": 0.0, "repetition_penalty": 1.0}
    asked = {"model": "small", "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 3}
    assert stub.asked == [asked | nothing]
    special = Sampling(top_k=4, min_p=0.1, repetition_penalty=1.2, stop=("\n",))
    endpoint.generate(asks("q"), special, n=3)
    expected = {"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.2, "stop": ["\n"], "n": 3}
    assert expected.items() <= stub.asked[-1].items()


def test_a_server_that_gives_one_choice_is_asked_again_with_other_seeds(endpoint: ChatEndpoint, stub: Stub) -> None:
    stub.choices = 2
    [row] = endpoint.generate(asks("q"), Sampling(seed=5), n=5)
    assert [answer.text for answer in row] == ["q:5:0", "q:5:1", "q:7:0", "q:7:1", "q:9:0"]


def test_greedy_answers_are_asked_for_once(endpoint: ChatEndpoint, stub: Stub) -> None:
    [row] = endpoint.generate(asks("q"), Sampling(temperature=0), n=3)
    assert [answer.text for answer in row] == ["q:0:0"] * 3
    assert "n" not in stub.asked[0]


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        ({"finish_reason": "stop"}, Stop.EOS),
        ({"finish_reason": "stop", "stop_reason": None}, Stop.EOS),
        ({"finish_reason": "stop", "stop_reason": "\n"}, Stop.STRING),
        ({"finish_reason": "length"}, Stop.LENGTH),
        ({"finish_reason": "content_filter", "message": {"content": None}}, Stop.FILTER),
    ],
)
def test_how_answers_end(endpoint: ChatEndpoint, stub: Stub, finish: dict[str, object], stop: Stop) -> None:
    stub.finish = finish
    [[answer]] = endpoint.generate(asks("q"), Sampling())
    assert answer.stop is stop
    assert answer.text == ("" if stop is Stop.FILTER else "q:0:0")


def test_logprobs_are_kept_where_they_are_given(stub: Stub) -> None:
    asking = ChatEndpoint(Server.at(Address.parse(stub.url)), "small", logprobs=True)
    assert asking.generate(asks("q"), Sampling())[0][0].logprobs == (-0.5,)
    asking.close()


def test_bad_moments_pass(endpoint: ChatEndpoint, stub: Stub) -> None:
    stub.failing = [(429, {"Retry-After": "0.01"}), (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), (500, {})]
    assert endpoint.generate(asks("q"), Sampling())[0][0].text == "q:0:0"
    assert len(stub.asked) == 4


def test_waits_double_and_a_server_may_ask_for_another(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    waits: list[float] = []
    server = Server.at(Address.parse(stub.url), first_wait=0.5)
    monkeypatch.setattr(server._closed, "wait", lambda seconds: bool(waits.append(seconds)))
    stub.failing = [(500, {}), (500, {}), (429, {"Retry-After": "7"}), (429, {"Retry-After": "900"}), (500, {})]
    server.get("/models")
    server.close()
    assert waits == [0.5, 1.0, 7.0, 60.0, 8.0]


def test_what_does_not_get_better_is_said(endpoint: ChatEndpoint, stub: Stub) -> None:
    stub.failing = [(503, {})] * 99
    with pytest.raises(MachineError, match=r"status 503, told to fail, 503, after 6 attempts") as caught:
        endpoint.generate(asks("q"), Sampling())
    assert caught.value.problems[0].where == f"{stub.url}/chat/completions"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, f"refused without a key.*told to fail, 401.*{KEY}"),
        (404, "the server refused: status 404.*often …/v1"),
        (413, "the server refused: status 413, told to fail, 413"),
        (307, "sends us on to http://elsewhere"),
    ],
)
def test_what_is_refused_is_not_asked_again(endpoint: ChatEndpoint, stub: Stub, status: int, says: str) -> None:
    stub.failing = [(status, {"Location": "http://elsewhere"})]
    with pytest.raises(ConfigError, match=says):
        endpoint.generate(asks("q"), Sampling())
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a\ud83d\ude00b", "a\U0001f600b"),
        ("half \ud800, NUL \0", "half \ufffd, NUL \ufffd"),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([], ""),
        (None, ""),
    ],
)
def test_what_a_message_says_is_text(endpoint: ChatEndpoint, stub: Stub, content: Any, text: str) -> None:
    stub.finish = {"message": {"content": content}}
    assert endpoint.generate(asks("q"), Sampling())[0][0].text == text


@pytest.mark.parametrize("content", [0, {"text": "a"}, ["a"], [{"text": "a"}], [{"type": "text", "text": None}]])
def test_what_is_no_text_is_not_taken_for_one(endpoint: ChatEndpoint, stub: Stub, content: Any) -> None:
    stub.finish = {"message": {"content": content}}
    with pytest.raises(MachineError, match="no choices in the form of a chat completion"):
        endpoint.generate(asks("q"), Sampling())


def test_a_list_of_models_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with (
        replying(lambda _headers, _body: Reply.of({"data": 5})) as url,
        pytest.raises(ConfigError, match="which of the server's models is not said; it lists none"),
    ):
        ChatEndpoint.open(f"{url}/v1")


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>", b"[]", b"{}", b'{"choices": [{}]}', b'{"choices": 3}'),
        b'{"choices": "\\ud800"}',
        b"[" * 200_000,
    ],
)
def test_what_is_no_chat_completion_is_an_error_of_ours(endpoint: ChatEndpoint, stub: Stub, body: bytes) -> None:
    stub.body = body
    with pytest.raises(BurnishError, match="OpenAI's API") as caught:
        endpoint.generate(asks("q"), Sampling())
    assert str(caught.value).encode()


def test_one_failure_ends_the_others_waits(endpoint: ChatEndpoint, stub: Stub) -> None:
    """All but one are told to come back in a minute."""
    stub.failing = [(401, {}), *[(429, {"Retry-After": "60"})] * 99]
    with pytest.raises(ConfigError, match="told to fail, 401"):
        endpoint.generate(asks(*map(str, range(8))), Sampling())


def test_one_failure_ends_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the last of those that are asked at once are still being answered when that one is refused."""
    monkeypatch.delenv(KEY, raising=False)
    asked, over = count(1), threading.Event()

    def reply(headers: Headers, body: Any) -> Reply:
        if next(asked) == AT_ONCE:
            return Reply.of({"error": "told to fail"}, 401)
        over.wait(60)
        return Reply.of({})

    with replying(reply) as url:
        endpoint = ChatEndpoint.open(f"{url}/v1#small")
        begun = time.monotonic()
        try:
            with pytest.raises(ConfigError, match="told to fail"):
                endpoint.generate(asks(*map(str, range(AT_ONCE))), Sampling())
            assert time.monotonic() - begun < 30
        finally:
            over.set()


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    monkeypatch.setattr(requests, "ATTEMPTS", 2)
    with pytest.raises(MachineError, match=r"could not be reached \(ConnectError.*after 2 attempts"):
        ChatEndpoint.open("http://127.0.0.1:9", first_wait=0.001)


def test_which_model_is_meant(stub: Stub) -> None:
    stub.models = ["small", "large"]
    with pytest.raises(ConfigError, match=r"which of the server's models is not said; it has small, large"):
        ChatEndpoint.open(stub.url)
    named = ChatEndpoint.open(f"{stub.url}#large")
    assert named.generate(asks("q"), Sampling())
    assert stub.asked[0]["model"] == "large"
    named.close()


@pytest.mark.parametrize(
    ("text", "url", "model", "local"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", None, True),
        ("http://[::1]:8000/v1/#a/b", "http://[::1]:8000/v1", "a/b", True),
        ("https://api.example.org/openai/v1#x", "https://api.example.org/openai/v1", "x", False),
        ("http://localhost:8080/", "http://localhost:8080/v1", None, True),
    ],
)
def test_addresses(text: str, url: str, model: str | None, local: bool) -> None:
    assert Address.parse(text) == Address(url=url, model=model, local=local)


@pytest.mark.parametrize(
    "text", ["http://", "http://:80/v1", "http://a:b:c", "http://u:pw@host/v1", "http://h/v1?key=pw"]
)
def test_addresses_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.parse(text)
    assert "pw" not in str(caught.value)


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch, stub: Stub) -> None:
    monkeypatch.setenv(KEY, SECRET)
    keyed = ChatEndpoint.open(stub.url)
    stub.failing = [(403, {})]
    with pytest.raises(ConfigError, match="refused with the key") as caught:
        keyed.generate(asks("q"), Sampling())
    assert stub.keys == [f"Bearer {SECRET}"] * 2
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(keyed.__dict__)
    keyed.close()


def test_the_key_does_not_travel_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    with pytest.raises(ConfigError, match="for everybody to read"):
        ChatEndpoint.open("http://example.org/v1#x")


def test_sample_asks_a_server_without_torch(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "hello"}\n')
    code = "import sys; from burnish.__main__ import code_of; sys.exit(code_of(sys.argv[1:]) or 'torch' in sys.modules)"
    words = ("sample", f"{stub.url}#small", "--prompts", "prompts.jsonl", "--n", "2", "--out", "said.jsonl")
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [row] = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [each["text"] for each in row["completions"]] == ["hello:0:0", "hello:0:1"]


def test_a_prompt_that_stands_in_a_file_twice_is_answered_twice(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the two are asked in calls of their own. What stands there once, or for the first time, is answered as
    if alone."""
    monkeypatch.setattr(talk, "AT_ONCE", 2)
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "{text}"}}\n' for text in ("p", "q", "r", "q")))
    told = ["--prompts", str(tmp_path / "prompts.jsonl"), "--seed", "3", "--out", str(tmp_path / "said.jsonl")]
    assert code_of(["sample", f"{stub.url}#small", *told]) == 0
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    texts = [row["completions"][0]["text"] for row in rows]
    assert texts[:3] == ["p:3:0", "q:3:0", "r:3:0"]
    assert texts[3].startswith("q:")
    assert texts[3] != "q:3:0"


def test_chat_asks_a_server(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["chat", stub.url, "--once", "hello"]) == 0
    assert "hello:0:0" in capsys.readouterr().out
