"""Where rows come from, and that no stage is measured on what another learned from."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from contexts import context_of

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError, MachineError
from burnish.models.tiny import write_tiny
from burnish.pipeline import ranked, sources
from burnish.pipeline.critic_free import Grpo
from burnish.pipeline.hub import data_of
from burnish.pipeline.recipe import Dpo, Evaluate, Kto, Recipe, RewardModel, Sft
from burnish.pipeline.reinforcement import Ppo
from burnish.pipeline.stage import Context
from burnish.store import queries, tasks
from burnish.store.details import Details
from burnish.store.session import open_store
from burnish.store.snapshot import freeze
from burnish.types import Message, Prompt


def context(folder: Path, **sections: object) -> Context:
    recipe = Recipe(name="t", model="m", seed=1, **sections)  # pyright: ignore[reportArgumentType]
    return context_of(recipe, folder)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Forty dialogues, two rankings each, and one row that prefers nothing."""
    rows = [
        {
            "chosen": f"\n\nHuman: Question {n // 2}?\n\nAssistant: Good {n}.",
            "rejected": f"\n\nHuman: Question {n // 2}?\n\nAssistant: Bad {n}.",
        }
        for n in range(80)
    ]
    rows.append({"chosen": "\n\nHuman: Odd?\n\nAssistant: Same.", "rejected": "\n\nHuman: Odd?\n\nAssistant: Same."})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_prompt_is_never_cut_by_the_split(pairs: Path) -> None:
    found = sources.rankings(context(pairs, reward=RewardModel(rankings="pairs.jsonl", held_out=0.3)))
    train, heldout = ({row.prompt.id for row in part} for part in (found.train, found.heldout))
    assert len(train) + len(heldout) == 40
    assert not train & heldout
    assert len(found.train) == 2 * len(train)
    assert 4 <= len(heldout) <= 20
    assert len(found.dropped) == 1


def test_rows_that_are_left_out_are_named_with_the_reason(pairs: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = RewardModel(rankings="pairs.jsonl")
    renderer = Renderer(Tokenizer.load(write_tiny(pairs / "model")))
    found = ranked.sides(context(pairs, reward=settings), renderer, settings)
    assert found.facts["dropped_rows"] == 1
    assert "1 unusable rows left out" in caplog.text
    assert f'{pairs}/pairs.jsonl:81:51: "chosen" and "rejected" are the same' in caplog.text


def test_a_conversation_is_never_cut_by_the_split(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Question {n}?"}],
            "completions": ["Good.", "Bad."],
            "ranks": [1, 2],
            "meta": {"conversation": f"talk {n // 4}"},
        }
        for n in range(80)
    ]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = sources.rankings(context(tmp_path, reward=RewardModel(rankings="talks.jsonl", held_out=0.3)))
    train, heldout = ({row.prompt.unit for row in part} for part in (found.train, found.heldout))
    assert heldout
    assert len(train) + len(heldout) == 20
    assert not train & heldout


def test_sft_and_ppo_never_see_what_is_held_out(pairs: Path) -> None:
    here = context(
        pairs,
        sft=Sft(data="pairs.jsonl"),
        reward=RewardModel(rankings="pairs.jsonl", held_out=0.3),
        ppo=Ppo(),
        evaluate=Evaluate(),
    )
    cases = {case.messages for case in sources.cases(here)}
    learned = {example.messages[:-1] for example in sources.conversations(here)[0]}
    sampled = {prompt.messages for prompt in sources.training_prompts(here, Ppo())}
    assert cases
    assert learned == sampled
    assert not cases & learned
    assert all(example.messages[-1].content.startswith("Good") for example in sources.conversations(here)[0])


def test_cases_that_any_model_learned_from_are_found(pairs: Path) -> None:
    """By what the prompt says, whatever its name is, and in the middle of a conversation too. Answers do not count."""
    said = [{"role": "user", "content": "Question 0?"}, {"role": "assistant", "content": "Other."}]
    again = [*said, {"role": "user", "content": "And then?"}, {"role": "assistant", "content": "Well."}]
    (pairs / "talk.jsonl").write_text(json.dumps({"messages": again}) + "\n")
    asked = [said[:1], again[:3], [{"role": "user", "content": "Another?"}], [{"role": "user", "content": "Mine?"}]]
    (pairs / "cases.jsonl").write_text(
        "".join(json.dumps({"id": n, "messages": each}) + "\n" for n, each in enumerate(asked))
    )
    (pairs / "mine.jsonl").write_text(json.dumps({"prompt": "Mine?"}) + "\n")

    def learned(**sections: object) -> list[str]:
        found = context(pairs, evaluate=Evaluate(cases=("cases.jsonl",)), **sections)
        return sources.learned_cases(found, sources.cases(found))

    assert learned(sft=Sft(data="talk.jsonl")) == ["0", "1"]
    assert learned(reward=RewardModel(rankings="pairs.jsonl", held_out=0.01)) == ["0"]
    assert learned(sft=Sft(data="talk.jsonl"), grpo=Grpo(prompts="mine.jsonl")) == ["0", "1", "3"]
    held = context(pairs, evaluate=Evaluate(), reward=RewardModel(rankings="pairs.jsonl", held_out=0.3), sft=Sft())
    assert sources.learned_cases(held, sources.cases(held)) == [], "what is held out is learned by nobody"


def test_dpo_alone_decides_what_is_held_out(pairs: Path) -> None:
    beside = context(pairs, reward=RewardModel(rankings="pairs.jsonl", held_out=0.3), dpo=Dpo())
    alone = context(pairs, sft=Sft(), dpo=Dpo(rankings="pairs.jsonl", held_out=0.3), evaluate=Evaluate())
    assert sources.rankings(alone) == sources.rankings(beside)
    cases = {case.messages for case in sources.cases(alone)}
    assert cases
    assert not cases & {example.messages[:-1] for example in sources.conversations(alone)[0]}


def test_limits_count_prompts(pairs: Path) -> None:
    here = context(pairs, reward=RewardModel(rankings="pairs.jsonl", held_out=0.3, limit=10), ppo=Ppo(limit=3))
    found = sources.rankings(here)
    assert len({row.prompt.id for row in [*found.train, *found.heldout]}) == 10
    assert len(sources.training_prompts(here, Ppo(limit=3))) == 3


def test_the_seed_draws_another_split(pairs: Path) -> None:
    first = context(pairs, reward=RewardModel(rankings="pairs.jsonl", held_out=0.3))
    other = Recipe(name="t", model="m", seed=2, reward=first.recipe.reward)
    found = sources.rankings(context(pairs, reward=first.recipe.reward))
    assert found.heldout == sources.rankings(first).heldout
    held = sources._split_file(pairs / "pairs.jsonl", other.reward or RewardModel(), other.seed).heldout
    assert {row.prompt.id for row in held} != {row.prompt.id for row in found.heldout}


def test_one_id_in_two_files_of_cases_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"id": "same", "prompt": "Hi"}\n')
    with pytest.raises(DataError, match="stands in two files"):
        sources.cases(context(tmp_path, evaluate=Evaluate(cases=("a.jsonl", "b.jsonl"))))


def test_a_data_set_out_of_reach_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_arguments: object, **_named: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(sources, "snapshot_download", unreachable)
    with pytest.raises(MachineError, match="could not be fetched"):
        sources.data_path("owner/name:file.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("name", "asked", "held"),
    [
        ("owner/name:a/file.jsonl", ("owner/name", None), ["a/file.jsonl"]),
        ("owner/name@v2:file.jsonl", ("owner/name", "v2"), ["file.jsonl"]),
        ("owner/name@v2", ("owner/name", "v2"), ["*.jsonl", "*.jsonl.gz"]),
    ],
)
def test_a_data_set_of_the_hub_and_its_revision(
    name: str, asked: tuple[str, str | None], held: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(repository: str, *, repo_type: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert (repository, revision) == asked
        assert (repo_type, allow_patterns) == ("dataset", held)
        return str(tmp_path)

    (tmp_path / "rows.jsonl").touch()
    monkeypatch.setattr(sources, "snapshot_download", fetched)
    assert sources.data_path(name, tmp_path) == tmp_path / name.partition(":")[2]
    assert data_of(name) == tmp_path / name.partition(":")[2]


def test_kto_learns_from_the_labels_of_people(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "preferences.db")) as store:
        with store.transaction() as write:
            campaign = queries.create_campaign(
                write, key="k", name="Round", question="Good?", kind="good_bad", overlap=1
            )
            who = queries.add_annotator(write, "Amina", "person")
            for number in range(20):
                prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}"),))
                queries.add_item(write, campaign, prompt, [(f"Answer {number}", "model")])
            for number in range(20):
                task = tasks.next_task(write, campaign, who)
                assert task
                tasks.submit(write, task=task.id, submission=f"s{number}", details=Details(good=number % 3 > 0))
        frozen = freeze(store, campaign, tmp_path / "snapshot", held_out=0.3, seed=0)
    here = replace(context(tmp_path, kto=Kto()), inputs={"collect": tmp_path})
    learned, heldout = sources.labelled(here)
    assert (len(learned), len(heldout)) == (frozen.counts["train"], frozen.counts["heldout"])
    assert {row.completion for row in learned + heldout if not row.desirable} == {
        f"Answer {number}" for number in range(0, 20, 3)
    }


def test_a_data_set_of_the_hub_without_json_lines_is_fetched_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "snapshot_download", lambda *_, **__: str(tmp_path / "absent"))
    with pytest.raises(DataError) as caught:
        sources.data_path("owner/name@v2", tmp_path)
    line = f"hf download owner/name --revision v2 --repo-type dataset --local-dir {tmp_path}/owner/name"
    assert caught.value.problems[0].mend.endswith(line)
