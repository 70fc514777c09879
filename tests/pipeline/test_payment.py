"""Rewards made from settings, with a small reward model that another run left."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from contexts import context_of
from transformers import AutoConfig, AutoModelForSequenceClassification

from burnish.batches import Document, pack
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.load import load_trainable, save_trainable
from burnish.models.tiny import write_tiny
from burnish.pipeline.critic_free import Grpo
from burnish.pipeline.payment import Surroundings, paid_by, weighed
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.reinforcement import Distill, OnPolicy
from burnish.pipeline.reward import load_reward
from burnish.pipeline.reward_terms import RewardTerm
from burnish.pipeline.stage import Context
from burnish.records import durable
from burnish.rewards.model import LearnedReward
from burnish.types import Completion, Message, Prompt, Silent, Stop

PROMPTS = [Prompt(id="a", messages=(Message(role="user", content="Where is it?"),), meta={"answer": "It left."})] * 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy, and two reward models that were made from it."""
    folder = tmp_path_factory.mktemp("payment")
    write_tiny(folder / "policy")
    tokenizer = Tokenizer.load(folder / "policy")
    with durable.folder(folder / "scored") as aside:
        for number, inside in enumerate((aside, aside / "member-02")):
            torch.manual_seed(number)
            module = load_trainable(folder / "policy", dtype=torch.float32, lm=False, score=True)
            inside.mkdir(exist_ok=True)
            save_trainable(module, inside, tokenizer, dtype=torch.float32)
            durable.write_json(inside / "normalisation.json", {"mean": 0.5, "std": 2.0})
    return folder


def context(place: Path) -> Context:
    recipe = Recipe.model_validate({"name": "paid", "model": "policy", "dtype": "float32"})
    return context_of(recipe, place / "run" / "grpo", run=place / "run", base=place)


def around(place: Path) -> Surroundings:
    return Surroundings(base=place, dtype="float32", progress=Silent())


def test_a_reward_model_of_another_run_is_one_term_of_a_sum(place: Path) -> None:
    renderer = Renderer(Tokenizer.load(place / "policy"))
    said = [Completion(text=text, stop=Stop.EOS, ids=tuple(renderer.answer(text))) for text in ("It left.", "No.")]
    terms = [
        RewardTerm.model_validate({"model": {"folder": "scored", "combine": "worst"}, "weight": -2.0, "name": "rm"}),
        RewardTerm.model_validate({"exact": {}}),
    ]
    rated = weighed(terms, around(place), PROMPTS, renderer, 256).score(PROMPTS, said)
    alone = LearnedReward(scorer=load_reward(place / "scored", torch.float32), ids=renderer, micro_tokens=256)
    parts = alone.score(PROMPTS, said).parts
    worst = [
        min(one, other) for one, other in zip(parts["model/1"], parts["model/2"], strict=True)
    ]  # of a model no part is None
    assert rated.parts["rm"] == worst
    assert rated.parts["exact"] == [1.0, 0.0]
    strange = [replace(each, ids=(1, 2)) for each in said]
    assert weighed(terms, around(place), PROMPTS, None, 256).score(PROMPTS, strange).parts["rm"] == pytest.approx(worst)
    assert rated.scores == pytest.approx([-2 * worst[0] + 1, -2 * worst[1]])
    assert rated.parts.keys() == {"rm", "rm/1", "rm/2", "rm/spread", "exact"}


def sure(place: Path, settings: OnPolicy) -> list[float | None] | None:
    renderer = Renderer(Tokenizer.load(place / "policy"))
    said = [Completion(text=text, stop=Stop.EOS, ids=tuple(renderer.answer(text))) for text in ("It left.", "No.")]
    rated = paid_by(context(place), settings, PROMPTS, renderer).score(PROMPTS, said)
    found = rated.parts.get("sure")
    return list(found) if found else None


@pytest.mark.parametrize("combine", ["mean", "worst", "mean_less_spread"])
def test_a_watch_without_a_watcher_goes_by_the_mean_less_the_spread_of_what_pays(place: Path, combine: str) -> None:
    """Two members: mean less spread is the lower score of the two."""
    renderer = Renderer(Tokenizer.load(place / "policy"))
    said = [Completion(text=text, stop=Stop.EOS, ids=tuple(renderer.answer(text))) for text in ("It left.", "No.")]
    alone = LearnedReward(scorer=load_reward(place / "scored", torch.float32), ids=renderer, micro_tokens=256)
    parts = alone.score(PROMPTS, said).parts
    lower = [min(each) for each in zip(parts["model/1"], parts["model/2"], strict=True)]
    against = {"model": {"folder": "scored"}, "weight": -1, "name": "against"}
    looks_on = {"model": {"folder": "scored"}, "weight": 0, "name": "looks-on"}
    pays = {"model": {"folder": "scored", "combine": combine}, "weight": 2, "name": "rm"}
    settings = {"rewards": [against, looks_on, pays], "watch": {"held_out": False}}
    assert sure(place, Grpo.model_validate(settings)) == pytest.approx([2 * each for each in lower])
    assert sure(place, Grpo.model_validate({**settings, "rewards": [against, {"exact": {}}]})) is None
    assert sure(place, Grpo.model_validate({**settings, "watch": None})) is None
    assert sure(place, Distill.model_validate({**settings, "teacher": "policy"})) is None, "it pays for nothing"


def test_a_reward_model_of_another_tokenizer_reads_the_text_by_its_own(place: Path) -> None:
    """Whatever the policy's ids mean to it. Its template says something before anybody speaks."""
    renderer = Renderer(Tokenizer.load(place / "policy"))
    shutil.copytree(place / "scored", place / "other", ignore=shutil.ignore_patterns("manifest.json"))
    template = place / "other" / "chat_template.jinja"
    template.write_text("You are a judge." + template.read_text())
    with durable.folder(place / "judging") as aside:
        shutil.copytree(place / "other", aside, dirs_exist_ok=True)
    said = [Completion(text=text, stop=Stop.EOS, ids=(1, 2)) for text in ("It left.", "No.")]
    own = Renderer(Tokenizer.load(place / "judging"))
    trees = [own.prompt(PROMPTS[0].messages) + own.answer(each.text) for each in said]
    with torch.no_grad():
        scorer = load_reward(place / "judging", torch.float32)
        alone = [float(scorer.scores(pack([Document(row="a", ids=ids[:-1], branches=[ids[-1:]])]))) for ids in trees]
    term = RewardTerm.model_validate({"model": {"folder": "judging"}})
    assert weighed([term], around(place), PROMPTS, renderer, 256).score(PROMPTS, said).scores == pytest.approx(alone)


def test_a_published_reward_model_pays_its_own_scores(place: Path) -> None:
    """It is read where transformers reads it, by its own tokenizer: `tests/rewards/test_published.py`."""
    config = AutoConfig.from_pretrained(place / "policy", num_labels=1, pad_token_id=256)
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(place / "published")
    own = Tokenizer.load(place / "policy")
    own.save(place / "published")
    said = [Completion(text=text, stop=Stop.EOS, ids=(1, 2)) for text in ("It left.", "No.")]
    turns = [(*PROMPTS[0].messages, Message(role="assistant", content=each.text)) for each in said]
    with torch.no_grad():
        theirs = [float(model(input_ids=torch.tensor([Renderer(own).example(each).ids])).logits) for each in turns]
    term = RewardTerm.model_validate({"model": {"folder": "published"}, "weight": 2})
    rated = weighed([term], around(place), PROMPTS, Renderer(own), 256).score(PROMPTS, said)
    assert rated.scores == pytest.approx([2 * score for score in theirs], abs=1e-5)


def test_a_judge_is_asked_with_the_model_that_it_names(place: Path) -> None:
    """A random model's replies are no grades: it says nothing of any answer, and nothing is paid."""
    renderer = Renderer(Tokenizer.load(place / "policy"))
    term = RewardTerm.model_validate({"judge": {"model": "policy", "criteria": "it is right."}})
    said = [Completion(text=text, stop=Stop.EOS) for text in ("It left.", "No.")]
    rated = weighed([term], around(place), PROMPTS, renderer, 256).score(PROMPTS, said)
    assert (rated.scores, rated.parts) == ([0.0, 0.0], {"judge": [None, None]})
