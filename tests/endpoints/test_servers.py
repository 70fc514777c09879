"""What servers that are met refuse, pass over and call by other names; nothing of it is taken for an answer."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from loopback import Reply, replying
from servers import (
    Behaving,
    Rule,
    azure_behind_openrouter,
    behaving,
    claude,
    fits,
    gemini,
    groq,
    litellm,
    llama_cpp,
    mistral,
    openai_reasoning,
    refusal,
    said,
    tgi,
    thinks,
    wordless,
)

from burnish.__main__ import code_of
from burnish.endpoints.chat import ChatEndpoint
from burnish.endpoints.dialect import ALL, ROOM
from burnish.endpoints.keys import KEY
from burnish.errors import BurnishError, ConfigError, MachineError, warn_once
from burnish.judge.pairwise import compare_by_model
from burnish.pipeline.talk import Talk
from burnish.types import Completion, Message, Prompt, Sampling, Silent, Stop

QUESTION = [Message(role="user", content="Who was it?")]
JUDGED = Sampling(temperature=0.0, max_new_tokens=4)
DRAWN = Sampling(max_new_tokens=64, seed=5)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    warn_once.cache_clear()


def asked(server: Behaving | str, sampling: Sampling = DRAWN, n: int = 1) -> list[Completion]:
    endpoint = ChatEndpoint.open(server if isinstance(server, str) else server.url, first_wait=0.001)
    try:
        return endpoint.generate([QUESTION], sampling, n=n)[0]
    finally:
        endpoint.close()


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        (openai_reasoning, {"seed": 5, "n": 2, "max_completion_tokens": 64, "temperature": 1.0}),
        (mistral, {"n": 2, "max_tokens": 64, "temperature": 1.0, "top_p": 1.0}),
        (gemini, {"n": 2, "max_tokens": 64, "temperature": 1.0, "top_p": 1.0}),
        (groq, {"seed": 5, "max_tokens": 64, "temperature": 1.0, "top_p": 1.0}),
        (
            claude,
            {"seed": 5, "max_tokens": 64, "temperature": 1.0, "top_k": ALL, "min_p": 0.0, "repetition_penalty": 1},
        ),
        (
            tgi,
            {"seed": 5, "n": 2, "max_tokens": 64, "temperature": 1.0, "top_k": ALL, "min_p": 0.0}
            | {"repetition_penalty": 1.0},
        ),
        (
            llama_cpp,
            {"seed": 5, "max_tokens": 64, "temperature": 1.0, "top_p": 1.0, "top_k": ALL, "min_p": 0.0}
            | {"repetition_penalty": 1.0},
        ),
        (litellm, {"seed": 5, "n": 2, "max_tokens": 64, "temperature": 1.0, "top_p": 1.0}),
        (wordless, {"max_tokens": 64, "temperature": 1.0, "top_p": 1.0}),
    ],
)
def test_a_server_is_asked_in_the_words_that_it_takes(rule: Rule, taken: dict[str, Any]) -> None:
    """Nothing is left out that it takes, and nothing that was asked for; a second prompt is asked so at once."""
    with behaving(rule) as server:
        endpoint = ChatEndpoint.open(server.url)
        [row] = endpoint.generate([QUESTION], DRAWN, n=2)
        refused = server.refused
        again = endpoint.generate([QUESTION], DRAWN, n=2)
        endpoint.close()
    assert server.asked[0] == taken
    assert len({answer.text for answer in row}) == 2 or "seed" not in taken
    assert ([row], server.refused) == (again, refused)


@pytest.mark.parametrize(
    ("rule", "sampling", "mend"),
    [
        (openai_reasoning, Sampling(temperature=0.7), "Ask for temperature=1."),
        (openai_reasoning, Sampling(top_p=0.9), "Ask for top_p=1."),
        (mistral, Sampling(top_k=40, min_p=0.1), "Ask for no top_k, no min_p."),
        (litellm, Sampling(repetition_penalty=1.2), "Ask for no repetition_penalty."),
        (wordless, Sampling(top_k=40), ""),
    ],
)
def test_what_a_recipe_asks_for_is_not_left_out(rule: Rule, sampling: Sampling, mend: str) -> None:
    with behaving(rule) as server, pytest.raises(ConfigError, match="the server refused: status 4") as caught:
        asked(server, sampling)
    assert caught.value.problems[0].mend == mend
    assert 'asked: "Who was it?"' in caught.value.problems[0].found
    assert not server.asked


def test_a_judge_need_not_be_greedy(caplog: pytest.LogCaptureFixture) -> None:
    """A temperature of 0 is ours where nobody says otherwise. What comes of leaving it out is told."""
    with behaving(openai_reasoning) as server:
        answers = asked(server, JUDGED, n=2)
    assert [answer.text for answer in answers] == ["0:0", "0:0"]
    assert server.asked == [{"seed": 0, "max_completion_tokens": 4 + ROOM}]
    assert "takes no temperature of 0" in caplog.text


def test_nothing_is_cut_off_by_a_servers_own_settings() -> None:
    """What a recipe does not ask for is said too: llama.cpp's min_p is 0.05, vLLM's top_k may be a model's."""
    with behaving() as server:
        asked(server)
        asked(server, Sampling(top_k=4, min_p=0.1, repetition_penalty=1.2))
    assert {"top_k": ALL, "min_p": 0.0, "repetition_penalty": 1.0, "top_p": 1.0}.items() <= server.asked[0].items()
    assert {"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.2, "repeat_penalty": 1.2}.items() <= server.asked[
        1
    ].items()


def test_what_ollama_passes_over_is_an_error() -> None:
    with behaving(lambda _: said("well", system_fingerprint="fp_ollama")) as server:
        assert asked(server)[0].text == "well"
        with pytest.raises(ConfigError, match="Ollama passes over top_k, repetition_penalty"):
            asked(server, Sampling(top_k=4, repetition_penalty=1.2))


@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning": "Hm."},
        {"reasoning_content": "Hm."},
        {},
        {"content": "<think>\nHm"},
        {"content": "<think>\n\n</think>\n"},
    ],
)
def test_who_thinks_is_given_room(thought: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """An answer that its thoughts left no tokens for is asked for again; the next one at once with room."""
    with behaving(thinks(1000, **thought)) as server:
        endpoint = ChatEndpoint.open(server.url)
        assert endpoint.answer(QUESTION, JUDGED).text == "A"
        assert endpoint.answer(QUESTION, JUDGED).text == "A"
        endpoint.close()
    assert server.refused == 0
    assert "thinks before it answers" in caplog.text


def test_room_is_what_a_server_has() -> None:
    with behaving(fits(3000), thinks(1000)) as server:
        assert asked(server, JUDGED)[0].text == "A"
    assert server.refused == 2  # 8,192 and 4,096 more are too many


def test_thoughts_that_never_end_are_no_answer() -> None:
    with behaving(thinks(10**6)) as server:
        assert asked(server, JUDGED) == [Completion(text="", stop=Stop.LENGTH)]


def test_few_tokens_are_more_where_a_server_wants_some() -> None:
    with behaving(azure_behind_openrouter) as server:
        assert asked(server, JUDGED)[0].text == "0:0"
    assert server.asked[0]["max_tokens"] == 16


def test_a_judge_that_shows_its_thoughts_is_read() -> None:
    with behaving(thinks(1000, "<think>\nA or B? A\n</think>\n\nB", content="<think>\nA")) as server:
        endpoint = ChatEndpoint.open(server.url)
        [found] = compare_by_model(endpoint, [(Prompt(id="p", messages=tuple(QUESTION)), "Ada.", "Bob.")])
        endpoint.close()
    assert (found.readable, found.outcome) == (True, 0.0)


@pytest.mark.parametrize(
    ("choice", "stop", "text"),
    [
        ({"finish_reason": "eos_token"}, Stop.EOS, "ab cd"),
        ({"finish_reason": None}, Stop.EOS, "ab cd"),
        ({"finish_reason": None, "usage": {"completion_tokens": 64}}, Stop.LENGTH, "ab cd"),
        ({"finish_reason": "of its own", "usage": {"completion_tokens": 64}}, Stop.LENGTH, "ab cd"),
        ({"finish_reason": "stop", "usage": {"completion_tokens": 64}}, Stop.EOS, "ab cd"),
        ({"finish_reason": "stop", "usage": {"completion_tokens": None}}, Stop.EOS, "ab cd"),
        ({"finish_reason": "max_tokens"}, Stop.LENGTH, "ab cd"),
        ({"finish_reason": "MAX_TOKENS"}, Stop.LENGTH, "ab cd"),
        ({"finish_reason": "model_length"}, Stop.LENGTH, "ab cd"),
        ({"finish_reason": "content_filter: RECITATION"}, Stop.FILTER, "ab cd"),
        ({"message": {"content": None, "refusal": "I cannot."}}, Stop.EOS, "I cannot."),
        ({"message": {"role": "assistant"}, "finish_reason": "content_filter"}, Stop.FILTER, ""),
        ({"message": {"content": None, "tool_calls": [{"id": "x"}]}, "finish_reason": "tool_calls"}, Stop.EOS, ""),
    ],
)
def test_how_servers_say_what_ended_an_answer(choice: dict[str, Any], stop: Stop, text: str) -> None:
    with behaving(lambda _: said("ab cd", **choice)) as server:
        assert asked(server) == [Completion(text=text, stop=stop)]


def test_a_stop_string_that_stands_in_the_text_ends_it() -> None:
    """Some servers leave it there, and others know none."""
    with behaving(lambda _: said("ab\nUser: cd\n")) as server:
        [answer] = asked(server, Sampling(stop=("\n", "User:")))
    assert answer == Completion(text="ab", stop=Stop.STRING)


def test_empty_answers_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with behaving(lambda _: said("", finish_reason="content_filter")) as server:
        asked(server)
        asked(server)
    assert caplog.text.count("some answers are empty, of those that ended by filter") == 1


def test_answers_that_nobody_draws_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A server may take a temperature and draw nothing, or remember what it said to the same question."""
    with behaving(lambda asked: said(*["the same " * 9] * asked.get("n", 1))) as server:
        asked(server, n=1)
        asked(server, JUDGED, n=3)
        assert "the same" not in caplog.text
        asked(server, n=2)
    assert caplog.text.count("answers to one prompt are all the same") == 1
    caplog.clear()
    warn_once.cache_clear()
    with behaving(lambda asked: said(*["A"] * asked.get("n", 1))) as server:
        asked(server, n=2)
    assert not caplog.text


BLOCKED = [
    refusal(
        "The response was filtered due to the prompt triggering the policy.", code="content_filter", param="prompt"
    ),
    refusal("Invalid prompt: your prompt was flagged.", code="invalid_prompt"),
    refusal("Your chosen model requires moderation and your input was flagged.", 403, code=403),
]


@pytest.mark.parametrize("blocked", BLOCKED)
def test_a_prompt_that_a_filter_keeps_back_does_not_end_the_others(blocked: Reply) -> None:
    with behaving(lambda request: blocked if request["messages"][0]["content"] == "bad" else None) as server:
        endpoint = ChatEndpoint.open(server.url)
        bad = [Message(role="user", content="bad")]
        rows = endpoint.generate([QUESTION, bad], DRAWN, n=2)
        endpoint.close()
    assert [[answer.stop for answer in row] for row in rows] == [[Stop.EOS] * 2, [Stop.FILTER] * 2]


MOMENTS = [
    Reply.of({"error": {"message": "Provider returned error", "code": 502}, "user_id": "x"}),
    Reply.of({"error": {"message": "Rate limit exceeded", "code": "429"}}),
    said("par", finish_reason="error", error={"message": "upstream", "code": 502}),
    said("par", finish_reason="abort"),
    said("par", finish_reason="insufficient_system_resource"),
    Reply.of({"choices": None}),
    Reply.of({"choices": []}),
    Reply(b"\n\n \n"),
    Reply(b'\n{"choices": [{"message": {"content": "hal'),
    Reply(b"<html>", 524),
    Reply(b"", 520),
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_breaks_off_is_asked_for_again(moment: Reply) -> None:
    left = [moment, moment]
    with behaving(lambda _: left.pop() if left else None) as server:
        assert asked(server)[0].text == "5:0"
    with behaving(lambda _: moment) as server, pytest.raises(MachineError, match="after 6 attempts"):
        asked(server)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply.of({"error": "Unexpected endpoint or method. (POST /chat/completions)"}), "Unexpected endpoint"),
        (refusal("You exceeded your current quota.", 429, code="insufficient_quota"), "429, You exceeded your current"),
        (refusal("Insufficient Balance", 402), "402, Insufficient Balance"),
        (Reply(b"<html>Sign in</html>"), "no JSON object but <html>Sign in"),
        (Reply.of([{"error": {"code": 403, "message": "denied"}}], 403), "refused without a key: status 403, denied"),
    ],
)
def test_what_no_wait_mends_is_said_at_once(reply: Reply, says: str) -> None:
    with behaving(lambda _: reply) as server, pytest.raises(ConfigError, match=says) as caught:
        asked(server)
    assert server.refused <= 2
    assert "attempts" not in str(caught.value)


def test_too_many_requests_are_waited_for_beyond_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    with behaving(lambda _: refusal("Rate limit", 429)) as server:
        endpoint = ChatEndpoint.open(server.url)
        monkeypatch.setattr(endpoint._server._closed, "wait", lambda seconds: bool(waits.append(seconds)))
        with pytest.raises(MachineError, match="429, Rate limit"):
            endpoint.answer(QUESTION, DRAWN)
        endpoint.close()
    assert waits == [2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("The model `smal` does not exist.", 404),
        ('model "smal" not found, try pulling it first', 404),
        ("Invalid model: smal", 400),
        ("smal is not a valid model ID", 400),
    ],
)
def test_a_model_that_is_not_served_is_told_those_that_are(words: str, status: int) -> None:
    missing = refusal(words, status)
    with behaving(lambda request: missing if request["model"] == "smal" else None) as server:
        with pytest.raises(ConfigError, match=rf'status {status}, .*smal.*Did you mean "small"\?'):
            asked(server.url.replace("#small", "#smal"))
        server.models = [f"model-{k}" for k in range(40)] + ["smaller"]
        with pytest.raises(ConfigError, match=r'Did you mean "smaller"\?$'):
            asked(server.url.replace("#small", "#smal"))


def test_the_whole_address_may_be_pasted() -> None:
    with behaving() as server:
        assert asked(server.url.replace("#small", "/chat/completions#small"))[0].text == "5:0"


def test_a_server_without_models_still_answers_who_names_one() -> None:
    with replying(lambda _, request: refusal("nothing here", 404) if request is None else said("well")) as url:
        assert asked(f"{url}/v1#small")[0].text == "well"


def test_a_judge_behind_a_server_that_thinks_judges_a_campaign(
    campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with behaving(openai_reasoning, lambda request: said("tie")) as server:
        capsys.readouterr()
        told = ["label", "judge", campaign, "--model", server.url, "--rubric", "It is so.", "--json"]
        assert code_of(told) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["judged"], found["unreadable"]) == (3, 0)


def test_what_was_thought_is_shown_and_not_told_again() -> None:
    seen: list[dict[str, Any]] = []
    with behaving(lambda request: seen.append(request) or said("<think>Hm.</think>\n\nWell.")) as server:
        talk = Talk.open(server.url, "", DRAWN, Silent())
        assert talk.say("hello") == "<think>Hm.</think>\n\nWell."
        talk.say("go on")
    assert [turn["content"] for turn in seen[1]["messages"]] == ["hello", "Well.", "go on"]


def test_errors_of_a_server_are_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for reply in (Reply.of({"choices": [{"message": {"content": 5}}]}), Reply.of({"choices": "x"})):
        with behaving(lambda _, reply=reply: reply) as server, pytest.raises(BurnishError, match="OpenAI's API"):
            asked(server)
