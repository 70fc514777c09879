from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from evidence_of import EVALUATION, changed, write_run
from transformers import GenerationConfig

from burnish.errors import DataError, InconclusiveError, ModelError, VerdictError
from burnish.records import durable
from burnish.records.licences import licence_texts
from burnish.release.bundle import build
from burnish.release.evidence import gather
from burnish.release.gate import Threshold, decide

NAMED = {"policy": "ppo", "name": "tiny", "version": "1.0.0", "license": "apache-2.0"}


def test_a_release_holds_the_model_its_card_and_its_evidence_and_no_heads(tmp_path: Path) -> None:
    evidence = write_run(tmp_path)
    facts = build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED)
    found = sorted(path.name for path in (tmp_path / "release").iterdir())
    assert found == [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "evidence.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert facts["verdict"] == "pass"
    assert facts["files"] == 8
    assert facts["digest"] == durable.digest_folder(tmp_path / "release")
    weights = (tmp_path / "release" / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "ppo" / "model" / "model.safetensors").read_bytes()


def test_licence_texts_of_the_base_model_go_out_with_what_is_made_of_it(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("LICENSE", "Notice.txt", "USE_POLICY.md", "README.md", "config.json"):
        (base / name).write_text(f"the base model's {name}\n")
    evidence, out = write_run(tmp_path), tmp_path / "release"
    facts = build(tmp_path / "ppo" / "model", out, evidence, **NAMED, licences=licence_texts(base))
    assert facts["files"] == 8 + 3
    assert (out / "LICENSE").read_text() == "the base model's LICENSE\n"
    assert (out / "Notice.txt").is_file()
    assert "LICENSE, Notice.txt, USE\\_POLICY.md, which go on with this one" in (out / "README.md").read_text()


def test_the_evidence_counts_what_is_in_the_files(tmp_path: Path) -> None:
    evidence = write_run(tmp_path)
    build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED)
    record = json.loads((tmp_path / "release" / "evidence.json").read_bytes())
    assert record["model"]["parameters"] == 4 * 8 + 8
    assert record["model"]["dtypes"] == ["F32"]
    assert record["snapshot"]["judgements"] == {"count": 2, "digest": durable.digest_value(["a", "b"])}
    assert record["snapshot"]["languages"] == {"en": 1, "es": 2}
    assert list(record["stages"]) == ["sft", "collect", "reward", "ppo", "evaluate", "gate"]
    assert record["recipe"]["model"] == "smollm2-135m"


def test_a_second_build_from_the_same_files_gives_the_same_bytes(tmp_path: Path) -> None:
    evidence = write_run(tmp_path)
    one = build(tmp_path / "ppo" / "model", tmp_path / "one", evidence, **NAMED)
    two = build(tmp_path / "ppo" / "model", tmp_path / "two", evidence, **NAMED)
    assert one["digest"] == two["digest"]


def test_a_no_from_the_gate_is_a_no_even_with_a_waiver(tmp_path: Path) -> None:
    evidence = write_run(tmp_path, verdict="fail")
    with pytest.raises(VerdictError, match="the gate said no") as caught:
        build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED, waiver="we like it")
    assert caught.value.exit_code == 4
    assert "should be at least 0.7" in str(caught.value)
    assert not (tmp_path / "release").exists()


def test_an_inconclusive_gate_needs_a_reason_which_the_card_prints(tmp_path: Path) -> None:
    evidence = write_run(tmp_path, verdict="inconclusive")
    with pytest.raises(InconclusiveError) as caught:
        build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED)
    assert caught.value.exit_code == 5
    build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED, waiver="a pilot with ten testers")
    assert "for this reason: a pilot with ten testers" in (tmp_path / "release" / "README.md").read_text()


def test_a_figure_that_is_missing_lets_nothing_out_whatever_the_reason(tmp_path: Path) -> None:
    """A misspelt threshold would be a doubt for ever, which a standing waiver lets pass."""
    evidence = write_run(tmp_path)
    asked = [Threshold(figure="refusals.ppo", at_least=0.9), Threshold(figure="winrate.ppo_vs_sft", at_least=0.5)]
    decision = decide(EVALUATION, asked).as_json()
    assert [each.get("missing", False) for each in decision["thresholds"]] == [True, False]
    with pytest.raises(InconclusiveError, match=r"figures that are not there \(refusals\.ppo\)"):
        build(tmp_path / "ppo" / "model", tmp_path / "release", evidence | {"decision": decision}, **NAMED, waiver="x")
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ({"temperature": 0.0, "max_new_tokens": 64}, {"do_sample": False}),
        (
            {"temperature": 1.0, "top_p": 1.0, "top_k": None, "min_p": 0.1, "max_new_tokens": 64},
            {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.1},
        ),
        (
            {"temperature": 0, "repetition_penalty": 1.2, "max_new_tokens": 64},
            {"do_sample": False, "repetition_penalty": 1.2},
        ),
    ],
)
def test_who_serves_it_is_told_how_the_judged_answers_were_drawn(
    sampling: dict[str, object], said: dict[str, object], tmp_path: Path
) -> None:
    """Beside where an answer ends, which the policy's own file says. transformers takes it without a warning."""
    evidence = write_run(tmp_path)
    evidence["stages"]["evaluate"]["settings"]["sampling"] = sampling
    with durable.folder(tmp_path / "model") as filling:
        for path in (tmp_path / "ppo" / "model").iterdir():
            if path.name != durable.MANIFEST:
                shutil.copyfile(path, filling / path.name)
        durable.write_json(filling / "generation_config.json", {"eos_token_id": 2, "pad_token_id": 2})
    build(tmp_path / "model", tmp_path / "release", evidence, **NAMED)
    found = json.loads((tmp_path / "release" / "generation_config.json").read_bytes())
    assert found == {"eos_token_id": 2, "pad_token_id": 2, **said}
    assert GenerationConfig.from_pretrained(tmp_path / "release").do_sample is said["do_sample"]


def test_without_a_decision_nothing_is_released(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "gate" / "decision.json").unlink()
    with pytest.raises(VerdictError, match="no gate has decided"):
        build(tmp_path / "ppo" / "model", tmp_path / "release", gather(tmp_path), **NAMED)


def test_a_policy_with_a_changed_byte_is_not_released(tmp_path: Path) -> None:
    evidence = write_run(tmp_path)
    weights = tmp_path / "ppo" / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(DataError, match="changed since it was written"):
        build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED)


def test_a_policy_without_a_tokenizer_is_not_released(tmp_path: Path) -> None:
    evidence = write_run(tmp_path)
    with durable.folder(tmp_path / "bare") as filling:
        durable.write_json(filling / "config.json", {})
    with pytest.raises(ModelError) as caught:
        build(tmp_path / "bare", tmp_path / "release", evidence, **NAMED)
    assert [Path(problem.where).name for problem in caught.value.problems] == ["tokenizer.json", "model.safetensors"]


def test_a_failed_build_leaves_the_release_that_was_there(tmp_path: Path) -> None:
    evidence = write_run(tmp_path)
    build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED)
    before = durable.digest_folder(tmp_path / "release")
    changed(tmp_path / "gate" / "decision.json", verdict="fail")
    with pytest.raises(VerdictError):
        build(tmp_path / "ppo" / "model", tmp_path / "release", gather(tmp_path), **NAMED)
    assert durable.digest_folder(tmp_path / "release") == before


def test_a_folder_that_is_no_run_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no finished stage"):
        gather(tmp_path)


def test_a_damaged_record_is_named_by_line(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "gate" / "decision.json").write_text('{\n "verdict": pass}')
    with pytest.raises(DataError, match=r"decision\.json:2:13: no JSON here"):
        gather(tmp_path)


def test_a_stage_that_read_something_else_counts_for_nothing_nor_does_what_rests_on_it(tmp_path: Path) -> None:
    write_run(tmp_path)
    changed(tmp_path / "evaluate" / "stage.json", inputs={"ppo": "an older one"})
    changed(tmp_path / "gate" / "stage.json", inputs={"evaluate": "o" * 64})
    evidence = gather(tmp_path)
    assert list(evidence["stages"]) == ["sft", "collect", "reward", "ppo"]
    assert evidence["decision"] == evidence["evaluation"] == {}
    with pytest.raises(VerdictError, match="no gate has decided"):
        build(tmp_path / "ppo" / "model", tmp_path / "release", evidence, **NAMED)


def test_a_stage_that_the_recipe_no_longer_has_counts_for_nothing(tmp_path: Path) -> None:
    write_run(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("collect: {k: 4}\n", ""))
    assert gather(tmp_path)["snapshot"] == {}


def test_where_judgements_are_kept_stays_in_the_house(tmp_path: Path) -> None:
    write_run(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        recipe.read_text().replace("collect: {k: 4}", "collect: {store: postgresql://ana@db.house/prefs}")
    )
    changed(tmp_path / "collect" / "stage.json", settings={"store": "postgresql://ana@db.house/prefs", "k": 4})
    build(tmp_path / "ppo" / "model", tmp_path / "release", gather(tmp_path), **NAMED)
    record = json.loads((tmp_path / "release" / "evidence.json").read_bytes())
    assert record["recipe"]["collect"]["store"] == record["stages"]["collect"]["settings"]["store"] == "postgresql"
    assert not any(b"db.house" in each.read_bytes() for each in (tmp_path / "release").iterdir())
