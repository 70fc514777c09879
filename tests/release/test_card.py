from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from evidence_of import write_run
from ruamel.yaml import YAML

from burnish.release.card import write_card
from burnish.release.clauses import clauses, duration, number, rate


def record(evidence: dict[str, Any], **more: Any) -> dict[str, Any]:
    model = {"architecture": "LlamaForCausalLM", "context": 128, "parameters": 134_515_008, "dtypes": ["BF16"]}
    named = {"policy": "ppo", "name": "tiny", "version": "1.0.0", "license": "apache-2.0", "purpose": "", "waiver": ""}
    return {"burnish": "0.1.0", "model": model, "weights": {}, **named, **evidence, **more}


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def evidence(gathered: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(gathered)


def head(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    return YAML(typ="safe").load(card.split("---\n")[1])


def test_the_head_is_yaml_that_the_hub_reads(evidence: dict[str, Any]) -> None:
    found = head(write_card(record(evidence, license="mit", name='a "quoted": name')))
    assert found["license"] == "mit"
    assert found["language"] == ["en", "es"]
    assert "base_model" not in found, "an alias of ours means nothing to the Hub"
    assert found["model_name"] == 'a "quoted": name'


@pytest.mark.parametrize(
    ("model", "linked"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("Qwen/Qwen3-0.6B@a1b2c3", "Qwen/Qwen3-0.6B"),
        ("../../models/llama", None),
        ("/home/ana/models/llama", None),
        ("smollm2.gguf", None),
    ],
)
def test_the_hub_is_told_of_a_base_model_that_it_has(model: str, linked: str | None, evidence: dict[str, Any]) -> None:
    evidence["recipe"]["model"] = model
    assert head(write_card(record(evidence))).get("base_model") == linked


def test_the_card_says_whose_weights_what_data_and_how_answers_were_drawn(evidence: dict[str, Any]) -> None:
    evidence["environment"] = {"processor": "one", "gpus": ["NVIDIA H200", "NVIDIA H200"]}
    evidence["stages"]["ppo"]["resumed"] = True
    evidence["snapshot"]["models"] = {"sft": 8, "http://127.0.0.1:8000/v1#qwen": 4}
    card = write_card(record(evidence))
    assert "| these weights | PPO |" in card
    assert f"| sft | `data` | x.jsonl | `{'d' * 16}` |" in card
    assert "12 answers by the tuned model, http://127.0.0.1:8000/v1\\#qwen, 2 judgements." in card
    assert "Answers were drawn at temperature 0.7, top_p 0.9, and cut after 48 tokens. Intervals" in card
    assert "Machine: one, NVIDIA H200; NVIDIA H200." in card
    assert card.count("1 min 05 s since it was last continued.") == 1
    assert "97.0% of its training answers ended by themselves" in card
    assert "training answers" not in write_card(record(evidence, policy="sft"))
    assert "learned from" not in card
    evidence["stages"]["evaluate"]["facts"]["learned_cases"] = 7
    assert "**7 of 200 cases are prompts that models of this run learned from." in write_card(record(evidence))


def test_a_purpose_without_conversations_is_not_called_unknown(evidence: dict[str, Any]) -> None:
    del evidence["stages"]["sft"]
    assert "Intended use: not assessed." in write_card(record(evidence))
    card = write_card(record(evidence, purpose="Answers customers."))
    assert "Intended use" not in card
    assert "Other uses, domains and languages: not assessed." in card


def test_figures_come_with_interval_and_n(evidence: dict[str, Any]) -> None:
    card = write_card(record(evidence))
    assert "| PPO against SFT | 64.0% | 59.0% to 69.0% | 200 | 7.0 pt |" in card
    assert "| Refusal and handover (too few cases) | base | 10.0% | 5.0% to 15.0% | 60 | 7.0 pt |" in card
    assert "| this reward model | 70.0% (95% interval 65.0% to 75.0%, n\u00a0=\u00a0200) |" in card
    assert "134,515,008 parameters" in card
    assert "321 conversations" in card


def test_the_card_says_that_an_adapter_was_trained(evidence: dict[str, Any]) -> None:
    assert "lora" not in write_card(record(evidence))
    evidence["stages"]["sft"]["settings"]["lora"] = {"rank": 16, "targets": "all-linear"}
    assert "`lora.rank` 16, `lora.targets` all-linear." in write_card(record(evidence))


def test_simulated_judges_are_named_as_such_and_people_are_not(tmp_path: Path, evidence: dict[str, Any]) -> None:
    assert "**The judges are simulated.**" in write_card(record(evidence))
    by_people = write_run(tmp_path / "people", kind="person")
    assert "simulated" not in write_card(record(by_people))


def test_the_verdict_and_its_reasons_are_printed(evidence: dict[str, Any]) -> None:
    card = write_card(record(evidence))
    assert "Verdict: **pass**." in card
    assert "should be at least 0.55" in card


def test_what_was_not_recorded_is_said_not_guessed(evidence: dict[str, Any]) -> None:
    bare = {
        "recipe": {},
        "environment": {},
        "stages": {},
        "snapshot": {},
        "evaluation": {},
        "decision": {},
    }
    card = write_card(record(bare))
    assert card.count("ot assessed.") >= 5
    assert "base_model" not in head(card)
    assert "None" not in card


def test_recorded_text_cannot_become_markup(evidence: dict[str, Any]) -> None:
    evidence["decision"]["reasons"] = ["<script>x</script> [a](http://b)\n# head"]
    card = write_card(record(evidence, purpose="**bold** | cell"))
    assert "<script>" not in card
    assert "\n# head" not in card
    assert r"\<script\>x\</script\> \[a\](http://b)" in card
    assert r"\*\*bold\*\* \| cell" in card


def test_a_reward_model_that_may_be_guessing_is_said(evidence: dict[str, Any]) -> None:
    told = record(evidence)
    assert "No conclusion" not in write_card(told)
    told["stages"]["reward"]["facts"]["accuracy"] |= {"low": 0.5}
    assert "**No conclusion.** The reward model that pays PPO puts" in write_card(told)


def test_the_same_evidence_gives_the_same_card(evidence: dict[str, Any]) -> None:
    assert write_card(record(evidence)) == write_card(record(evidence))


def test_a_clause_without_its_fact_is_left_out() -> None:
    assert clauses("sft", {"examples": 1234}) == ["1,234 conversations"]
    assert clauses("sft", {"examples": 3, "loss_first": 2.0}) == ["3 conversations"]
    assert clauses("sft", {"too_long": 0}) == []
    assert clauses("sft", {"too_long": 2}) == ["2 conversations left out as too long"]
    assert clauses("ppo", {"kl_start": 0.0, "kl_end": 5.25}) == ["KL from the tuned model 0 → 5.25 nats an answer"]
    assert clauses("sft", {"summed_first": 90.0, "summed_last": 40.5}) == ["loss 90 → 40.5 nats a conversation"]
    assert clauses("unheard of", {"examples": 3}) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_keep_three_digits() -> None:
    assert [number(value) for value in (0.12345, -2, 1234.5, 12.34)] == ["0.123", "−2", "1,234", "12.3"]
    assert rate(0.5) == "50.0%"
