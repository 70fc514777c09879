"""Recipes: defaults, refusals with places and mends, paths, and the two that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.batches import Document, pack
from burnish.config import resolved
from burnish.errors import ConfigError
from burnish.pipeline import run_folder
from burnish.pipeline.critic_free import USUAL, Grpo
from burnish.pipeline.objectives import objective_of
from burnish.pipeline.recipe import STAGES, Recipe
from burnish.pipeline.recipe_file import load_recipe, moved
from burnish.pipeline.reinforcement import Distill, OnlineDpo, OnPolicy, Ppo, Rft
from burnish.pipeline.settings import Lora
from burnish.train.direct import DirectPreference
from burnish.train.policy_gradient import FAMILY
from burnish.types import Sampling

ROOT = Path(__file__).parents[2]
SFT = "name: tiny\nmodel: smollm2-135m\nsft:\n  data: rows.jsonl\n"


def write(folder: Path, text: str) -> Path:
    (folder / "rows.jsonl").write_text("{}\n")
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def problems(path: Path, *overrides: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    return [(problem.where, problem.found, problem.mend) for problem in caught.value.problems]


def test_a_section_is_a_stage(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, SFT))
    assert recipe.stages() == ["sft"]
    assert recipe.sft is not None
    assert (recipe.sft.data, recipe.sft.epochs) == ("rows.jsonl", 1)


def test_an_override_wins_and_is_typed(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, SFT), ["sft.lr=5e-5", "seed=7"])
    assert recipe.sft is not None
    assert (recipe.sft.lr, recipe.seed) == (5e-5, 7)


@pytest.mark.parametrize(
    ("asked", "question"),
    [
        ("", "Which answer is better?"),
        ("  k: 2\n", "Which answer is better?"),
        ("  kind: scale\n  axes: [helpful]\n", "How good is each answer?"),
        ("  k: 1\n  kind: good_bad\n", "Is the answer good?"),
        ("  k: 1\n  kind: good_bad\n  question: Send it?\n", "Send it?"),
    ],
)
def test_people_are_asked_what_fits_the_kind(tmp_path: Path, asked: str, question: str) -> None:
    recipe = load_recipe(write(tmp_path, f"{SFT}collect:\n  by: people\n  prompts: rows.jsonl\n{asked}"))
    assert recipe.collect
    assert (recipe.collect.question, resolved(recipe)["collect"]["question"]) == (question, question)


def test_a_wrong_kind_is_one_problem(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SFT}collect:\n  by: people\n  prompts: rows.jsonl\n  kind: good\n")
    ((where, found, _),) = problems(path)
    assert where.endswith(":8:3")
    assert "collect.kind" in found


def test_a_misspelt_key_is_named_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, SFT + "  learning_rate: 1e-4\n  batch_sise: 8\n")
    found = problems(path)
    assert (f"{path}:6:3", '"sft.batch_sise" is not a setting', 'Did you mean "batch_size"?') in found
    assert [where for where, *_ in found] == [f"{path}:5:3", f"{path}:6:3"], "all problems at once"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("lr: -1e-4", "sft.lr"),
        ("lr: 30000.0", "sft.lr"),
        ("epochs: 0", "sft.epochs"),
        ('lr: "5e-5"', "sft.lr"),
        ("micro_tokens: true", "sft.micro_tokens"),
        ("schedule: cosinus", "sft.schedule"),
        ("clip_norm: .nan", "sft"),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_its_line(tmp_path: Path, line: str, key: str) -> None:
    path = write(tmp_path, SFT + f"  {line}\n")
    found = problems(path)
    assert len(found) == 1
    assert found[0][0].startswith(str(path))
    assert key in found[0][1]


COMPARED = "{judge: {model: smollm2-135m, by: comparison, criteria: Kind.}}"
PEOPLE = "collect: {prompts: rows.jsonl, by: people, "
GATED = "evaluate: {cases: [rows.jsonl], rewards: [{length: {most: 9}}]}\ngate: {thresholds: "
PANEL = "collect: {prompts: rows.jsonl, by: people}"


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("ppo: {}", "ppo needs a reward section"),
        ("grpo: {}", "grpo needs a reward section"),
        ("rft: {}", "rft needs a reward section"),
        ("online_dpo: {}", "online_dpo needs a reward section"),
        ("release: {name: x, license: mit}", "release needs a gate section"),
        ("release: {name: x}", "release.license"),
        (f"{GATED}[{{figure: tone.ppo, at_least: 0.5}}]}}", "tone.ppo is of ppo, and there will be base, sft"),
        (
            f"{GATED}[{{figure: winrate.sft_vs_bas, at_least: 0.5}}]}}",
            "is of bas, and there will be base, sft",
        ),
        (
            f"{GATED}[{{figure: tone.base, at_most: 0.5}}]}}\nrelease: {{name: x, license: mit}}",
            "no threshold asks anything of sft, whose weights go out",
        ),
        ("gate: {thresholds: [{figure: tone.sft, at_least: 0.5}]}", "gate needs an evaluate section"),
        ("reward: {}", "nothing to learn from"),
        ("dpo: {}", "there is no collect section and no dpo.rankings"),
        ("dpo: {rankings: rows.jsonl, loss: cdpo}", "cdpo without label_smoothing is dpo"),
        ("dpo: {rankings: rows.jsonl, label_smoothing: 0.1}", "label_smoothing is set, and dpo does not read it"),
        ("dpo: {rankings: rows.jsonl, loss: ipo, gamma: 1}", "gamma is set, and ipo does not read it"),
        ("dpo: {rankings: rows.jsonl, loss: orpo, rpo_alpha: 1}", "rpo_alpha is set, and orpo does not read it"),
        (
            "reward: {rankings: rows.jsonl, loss: plackett_luce, margin: 1}",
            "plackett_luce reads a prompt's whole order",
        ),
        ("reward: {rankings: rows.jsonl, loss: plackett_luce, ties: half}", "ties is about pairs"),
        ("reward: {rankings: rows.jsonl, ties: rao_kupper, lapse: 0.1}", "lapse is set, and rao_kupper has its thresh"),
        ("reward: {rankings: rows.jsonl, ties: half, tie_threshold: 1}", "only rao_kupper reads it"),
        (
            "reward: {rankings: rows.jsonl}\ndpo: {where: {lang: [en]}}",
            "where is set, and dpo learns from",
        ),
        ("collect: {prompts: rows.jsonl, ask: 3}", "nothing says which prompts are disputed"),
        ("collect: {prompts: rows.jsonl}\nreward: {margin: stars}", "margin names a column of given rankings"),
        (f"{PEOPLE}k: 2, strength: true}}\nreward: {{margin: stars}}", "the collect section makes none called stars"),
        (f"{PEOPLE}strength: true}}", "is asked of two, and there are 4"),
        ("collect: {prompts: rows.jsonl, k: 2, strength: true}", "the simulated panel says nothing beside the order"),
        ("collect: {prompts: rows.jsonl, rationale: true}", "rationale is asked, and the simulated panel"),
        (f"{PEOPLE}kind: scale}}", "axes are what a scale grades"),
        (f"{PEOPLE}axes: [helpful]}}", "axes are what a scale grades"),
        (f"{PEOPLE}kind: good_bad}}", "good_bad is asked of 1 answers, not 4"),
        (f"{PEOPLE}k: 1, kind: ranking}}", "ranking is asked of 2 to 9 answers, not 1"),
        ("collect: {prompts: rows.jsonl, k: 1, kind: good_bad}", "the simulated panel orders answers, and grades none"),
        ("collect: {prompts: rows.jsonl, k: 1}", "the simulated panel orders answers, and grades none"),
        (f"{PEOPLE}k: 1}}\nreward: {{}}", "reward learns from rankings, and collect asks"),
        (f"{PEOPLE}k: 1, kind: good_bad}}\nreward: {{}}", "reward learns from rankings, and collect asks"),
        (f"{PEOPLE}k: 1, kind: good_bad}}\nppo: {{}}", "ppo learns from rankings, and collect asks"),
        ("kto: {}", "there is neither kto.data nor a collect section of the kind good_bad"),
        (f"{PEOPLE}}}\nkto: {{}}", "there is neither kto.data nor"),
        ("reward: {rankings: rows.jsonl}\ndpo: {rankings: rows.jsonl}", "one section names them"),
        ("reward: {rankings: rows.jsonl}\ndpo: {limit: 9}", "dpo learns from rankings that are reward's"),
        (f"{PANEL}\nreward: {{held_out: 0.5}}", "reward learns from rankings that are collect's"),
        ("reward: {rankings: rows.jsonl, bootstrap: true}", "there is one member"),
        ("kto: {data: rows.jsonl, patience: 2}", "patience is set, and nothing is evaluated"),
        ("kto: {data: rows.jsonl, lora: {dropout: 0.1}}", "this stage trains without dropout"),
        ("dpo: {rankings: rows.jsonl, keep: best}", "keep is set, and nothing is evaluated"),
        (
            "dpo: {rankings: rows.jsonl, eval_every: 9, eval_data: rows.jsonl, eval_share: 0.1}",
            "a share of the others is to be taken too",
        ),
        ("dpo: {rankings: rows.jsonl, eval_every: 9, eval_data: row.jsonl}", '"row.jsonl" does not exist'),
        ("kto: {data: row.jsonl}", '"row.jsonl" does not exist'),
        ("evaluate: {}", "no evaluate.cases"),
        ("collect: {prompts: rows.jsonl}", "a simulated panel needs collect.rubric"),
        ("collect: {prompts: rows.jsonl, rubric: rows.jsonl, overlap: 9}", "an overlap of 9 with 5 members"),
    ],
)
def test_sections_that_do_not_fit_together(tmp_path: Path, section: str, says: str) -> None:
    found = problems(write(tmp_path, SFT + section + "\n"))
    assert any(says in clause for _, clause, _ in found)


def test_a_single_answer_is_called_good_or_bad_where_no_kind_is_named(tmp_path: Path) -> None:
    kinds = {}
    for k in (1, 2, 3):
        collect = load_recipe(write(tmp_path, SFT + f"{PEOPLE}k: {k}}}\n")).collect
        assert collect is not None
        kinds[k] = collect.asked
    assert kinds == {1: "good_bad", 2: "pairwise", 3: "ranking"}


def test_dpo_has_its_own_rankings_or_those_of_reward(tmp_path: Path) -> None:
    alone = load_recipe(write(tmp_path, SFT + "dpo: {rankings: rows.jsonl, loss: simpo}\n"))
    assert alone.dpo is not None
    assert alone.ranked() is alone.dpo
    assert (alone.dpo.strength, alone.stages()) == (2.0, ["sft", "dpo"])
    beside = load_recipe(write(tmp_path, SFT + "reward: {rankings: rows.jsonl}\ndpo: {beta: 0.3}\n"))
    assert beside.dpo is not None
    assert beside.ranked() is beside.reward
    assert beside.dpo.strength == 0.3


@pytest.mark.parametrize(
    ("said", "gamma"),
    [
        ("loss: simpo", 1.0),
        ("loss: simpo, beta: 2.5", 1.25),
        ("loss: simpo, gamma: 0", 0.0),
        ("loss: simpo, gamma: 0.7", 0.7),
        ("loss: dpo", 0.0),
        ("loss: dpo_norm, beta: 4", 0.0),
    ],
)
@pytest.mark.parametrize("section", ["dpo", "online_dpo"])
def test_simpo_has_its_margin_and_no_other_loss_has_one(tmp_path: Path, section: str, said: str, gamma: float) -> None:
    """Without its margin SimPO is another method; 0 stands where it is asked for, and in the records of all others."""
    rewards = "reward: {rankings: rows.jsonl}\n"
    recipe = load_recipe(write(tmp_path, SFT + rewards + f"{section}: {{{said}}}\n"))
    settings = getattr(recipe, section)
    assert (settings.gamma, resolved(recipe)[section]["gamma"]) == (gamma, gamma)
    objective = objective_of(recipe, section)
    assert isinstance(objective, DirectPreference)
    assert objective._gamma == gamma


@pytest.mark.parametrize(
    ("settings", "best"),
    [("eval_every: 5", False), ("eval_every: 5, patience: 2", True), ("eval_every: 5, patience: 2, keep: last", False)],
)
def test_the_best_weights_are_kept_where_patience_chooses_an_end(tmp_path: Path, settings: str, best: bool) -> None:
    recipe = load_recipe(write(tmp_path, SFT + f"kto: {{data: rows.jsonl, {settings}}}\n"))
    assert recipe.kto is not None
    assert recipe.kto.keeps_best is best


def test_what_fine_tuning_is_a_mean_of(tmp_path: Path) -> None:
    """Two conversations with three learned tokens between them."""
    batch = pack([Document(row="a", ids=[1, 2, 3], weights=[0, 1, 1]), Document(row="b", ids=[1, 2], weights=[0, 1])])
    path = write(tmp_path, SFT)
    counts = {
        mean: objective_of(load_recipe(path, [f"sft.mean={mean}"]), "sft").counts(batch)["nll"]
        for mean in ("null", "token", "sequence", "sum")
    }
    assert counts == {"null": 3, "token": 3, "sequence": 2, "sum": 2}


def test_a_clash_names_both_lines(tmp_path: Path) -> None:
    text = SFT + "reward:\n  rankings: rows.jsonl\nppo:\n  minibatches: 9\n  prompts_per_iteration: 4\n"
    path = write(tmp_path, text)
    where, found, _ = problems(path)[0]
    assert where == f"{path}:8:3"
    assert f"{path}:9:3" in found


def test_a_baseline_of_other_answers_needs_other_answers(tmp_path: Path) -> None:
    text = SFT + "reward:\n  rankings: rows.jsonl\nppo:\n  baseline: leave_one_out\n"
    path = write(tmp_path, text)
    [(where, found, mend)] = problems(path)
    assert where == f"{path}:8:3"
    assert "one answer a prompt" in found
    assert "samples_per_prompt" in mend
    assert load_recipe(path, ("ppo.samples_per_prompt=2",)).ppo is not None


def test_an_adapter_is_a_section_with_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, SFT + "  lora: {}\n"), ["sft.lora.targets=[q_proj]"])
    assert recipe.sft is not None
    assert recipe.sft.lora == Lora(rank=16, alpha=32, dropout=0.0, targets=("q_proj",))
    assert load_recipe(tmp_path / "recipe.yaml").sft == recipe.sft.model_copy(update={"lora": Lora()})
    assert load_recipe(write(tmp_path, SFT)).sft == recipe.sft.model_copy(update={"lora": None})


@pytest.mark.parametrize("section", ["reward", "ppo"])
def test_dropout_of_an_adapter_where_there_is_none(tmp_path: Path, section: str) -> None:
    path = write(tmp_path, SFT + "reward:\n  rankings: rows.jsonl\nppo: {}\n")
    [(where, found, mend)] = problems(path, f"{section}.lora.dropout=0.1")
    assert where == f"--set {section}.lora.dropout=0.1"
    assert "trains without dropout" in found
    assert f"{section}.lora.dropout" in mend


def test_an_adapter_and_unfrozen_layers_are_one_too_many(tmp_path: Path) -> None:
    path = write(tmp_path, SFT + "reward:\n  rankings: rows.jsonl\nppo:\n  unfrozen_layers: 2\n  lora: {}\n")
    [(where, found, _)] = problems(path)
    assert where == f"{path}:8:3"
    assert "weights that are all frozen" in found


def test_ppo_does_not_go_with_shards(tmp_path: Path) -> None:
    path = write(tmp_path, SFT + "reward:\n  rankings: rows.jsonl\nppo: {}\n")
    [(where, found, mend)] = problems(path, "parallel=fsdp")
    assert where == "--set parallel=fsdp"
    assert "samples with the whole policy" in found
    assert mend == "Set parallel to ddp."


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("distill: {teacher: smollm2-135m, lmbda: 0.5}", "the policy says 50% of what is learned, and the rest is"),
        ("distill: {teacher: smollm2-135m, data: rows.jsonl}", "the policy says all that is learned"),
        ("distill: {teacher: ./none}", '"./none" does not exist'),
        ("rft: {num_generations: 4, per_prompt: 5}", "the best 5 of 4 answers"),
        ("rft: {watch: {held_out: false}}", "rft passes the chosen ones alone"),
        ("online_dpo: {gamma: 0.3}", "gamma is set, and dpo does not read it"),
        ("online_dpo: {loss: robust}", "robust without label_smoothing is dpo"),
        ("online_dpo: {minibatches: 99}", "99 minibatches of 32 prompts"),
        (f"ppo: {{rewards: [{COMPARED}]}}", "answers to one prompt are compared, and there is one"),
        (f"evaluate: {{cases: [rows.jsonl], rewards: [{COMPARED}]}}", "are compared, and each model gives one"),
        (
            "evaluate: {cases: [rows.jsonl], rewards: [{length: {most: 9}, name: words}]}",
            '"words" is the name of a figure',
        ),
        ("grpo: {loss: rloo, epochs: 2}", "rloo has no ratio"),
        ("grpo: {loss: reinforce, minibatches: 2}", "one step an iteration"),
        ("grpo: {kl: {in: reward, estimator: k3}}", "leaves out its own gradient"),
        ("grpo: {kl: {in: loss, estimator: k1}}", "an expected gradient of 0"),
        ("grpo: {loss: cispo, epsilon: 0.2}", "epsilon is set, and cispo does not read it"),
        ("grpo: {loss: rloo, scale_rewards: group}", "scale_rewards is set, and rloo does not read it"),
        ("grpo: {loss: reinforce_pp, dynamic_sampling: 3}", "dynamic_sampling is set, and reinforce_pp"),
        ("grpo: {dynamic_sampling: 3, kl: {in: reward}}", "answers with the same score are not paid the same"),
        ("grpo: {importance_sampling: {least: 0.1}}", "truncate has no lower end"),
        ("grpo: {mask_truncated: true, watch: {held_out: false}}", "those that were cut are not passed"),
        ("ppo: {mask_truncated: true, missing_eos_penalty: 2.0}", "nothing is learned from them"),
        ("ppo: {stop: ['']}", 'ppo.stop.0 is ""'),
        ("grpo: {minibatches: 99}", "99 minibatches of 32 prompts"),
        ("grpo: {overlong_tokens: 65}", "the last 65 tokens of a budget of 64"),
        ("grpo: {ptx_coef: 1}", "ptx_coef is set, and there is nothing to learn beside the answers"),
        ("grpo: {unfrozen_layers: 2, lora: {}}", "weights that are all frozen"),
        ("grpo: {lora: {dropout: 0.1}}", "this stage trains without dropout"),
        ("ppo: {kl_horizon: 9}", "the weight of the KL is fixed"),
        ("ppo: {kl_target: 4, kl_coef: 0}", "a multiple of 0 is 0"),
    ],
)
def test_settings_of_policies_that_do_not_go_together(tmp_path: Path, section: str, says: str) -> None:
    found = problems(write(tmp_path, SFT + f"reward: {{rankings: rows.jsonl}}\n{section}\n"))
    assert [says in clause for _, clause, _ in found] == [True]


CUT = {"top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2}


def test_what_is_learned_as_given_may_be_drawn_from_a_part_of_what_the_policy_may_say(tmp_path: Path) -> None:
    for section in (Rft(**CUT, stop=("a",)), OnlineDpo(**CUT, stop=("a",)), Distill(**CUT, stop=("a",), teacher="t")):
        wanted = Sampling(temperature=1.0, max_new_tokens=64, stop=("a",), **CUT)
        assert section.sampling == wanted
        assert not wanted.whole
    assert Ppo(stop=("a",), temperature=0.7).sampling == Sampling(temperature=0.7, stop=("a",))
    for name, value in CUT.items():
        path = write(tmp_path, SFT + f"reward: {{rankings: rows.jsonl}}\nppo: {{{name}: {value}}}\n")
        [(_, found, mend)] = problems(path)
        assert found == f'"ppo.{name}" is not a setting'
        assert mend.startswith("Remove it: ratios and KL are of all that the policy may say")


@pytest.mark.parametrize("section", [Ppo(), Grpo(), Rft(), OnlineDpo(), Distill(teacher="t")])
def test_settings_that_ask_for_nothing_are_null_and_in_no_key(section: OnPolicy) -> None:
    values = resolved(section)
    assert all(values[name] is None for name in {*CUT, "stop", "mask_truncated"} & values.keys())


def test_a_list_with_a_wrong_item_is_not_called_short_as_well(tmp_path: Path) -> None:
    path = write(tmp_path, SFT + "grpo:\n  prompts: rows.jsonl\n  rewards: [{judge: {model: smollm2-135m}}]\n")
    assert [found for _, found, _ in problems(path)] == ['"grpo.rewards.0.judge.criteria" is missing']
    path = write(tmp_path, SFT + "grpo:\n  prompts: rows.jsonl\n  rewards: []\n")
    assert ["at least 1 item" in found for _, found, _ in problems(path)] == [True]


@pytest.mark.parametrize(("lmbda", "minibatches", "given"), [(0.5, 1, 32), (0.8, 1, 8), (0.8, 4, 2), (0.99, 1, 1)])
def test_conversations_beside_answers_of_a_taught_policy(lmbda: float, minibatches: int, given: int) -> None:
    """32 answers are the share lmbda of what an iteration learns."""
    assert Distill(teacher="t", lmbda=lmbda, data="d", minibatches=minibatches).given == given


def test_a_loss_clips_where_it_learns_a_ratio_and_nowhere_else() -> None:
    assert USUAL.keys() == FAMILY.keys()
    for name, usual in USUAL.items():
        assert (usual.clip is None) == (FAMILY[name].learned == "log-probability"), name


@pytest.mark.parametrize(
    ("section", "kl", "clips", "attempts"),
    [
        ("{}", ("loss", "k3", 0.04), (0.2, 0.2), 1),
        ("{epsilon: 0.1}", ("loss", "k3", 0.04), (0.1, 0.1), 1),
        ("{loss: rloo}", ("reward", "k1", 0.05), None, 1),
        ("{loss: dapo}", None, (0.2, 0.28), 4),
        ("{loss: dapo, kl: {in: reward}}", ("reward", "k1", 0.05), (0.2, 0.28), 1),
        ("{loss: dapo, dynamic_sampling: 1, epsilon_high: 0.3}", None, (0.2, 0.3), 1),
        ("{loss: gspo, kl: {in: loss, coef: 0.01}}", ("loss", "k3", 0.01), (3e-4, 4e-4), 1),
        ("{kl: {coef: 0}}", None, (0.2, 0.2), 1),
    ],
)
def test_what_is_usual_for_a_loss(
    tmp_path: Path, section: str, kl: tuple[str, str, float] | None, clips: tuple[float, float] | None, attempts: int
) -> None:
    recipe = load_recipe(write(tmp_path, SFT + f"reward: {{rankings: rows.jsonl}}\ngrpo: {section}\n"))
    assert recipe.grpo is not None
    found = recipe.grpo.penalty
    assert (found and (found.place, found.kind, found.coef)) == kl
    assert recipe.grpo.clips == clips
    assert recipe.grpo.attempts == attempts


def test_a_word_of_python_is_a_setting_like_another(tmp_path: Path) -> None:
    """`in` is written and read again as `in`, between processes as well."""
    recipe = load_recipe(write(tmp_path, SFT + "reward: {rankings: rows.jsonl}\ngrpo: {kl: {in: loss}}\n"))
    values = resolved(recipe)
    assert values["grpo"]["kl"] == {"in": "loss", "estimator": None, "coef": 0.05}
    assert Recipe.model_validate(values) == recipe == Recipe.model_validate_json(recipe.model_dump_json(by_alias=True))
    [(_, found, mend)] = problems(tmp_path / "recipe.yaml", "grpo.kl.place=loss")
    assert (found, mend) == ('"grpo.kl.place" is not a setting', "Known here: coef, estimator, in.")


def test_a_clash_by_override_names_the_override(tmp_path: Path) -> None:
    path = write(tmp_path, SFT + "reward:\n  rankings: rows.jsonl\nppo:\n  minibatches: 2\n")
    assert problems(path, "ppo.minibatches=900")[0][0] == "--set ppo.minibatches=900"


def test_a_missing_file_is_found_before_anything_runs(tmp_path: Path) -> None:
    path = write(tmp_path, SFT.replace("rows.jsonl", "row.jsonl"))
    where, found, _ = problems(path)[0]
    assert where == f"{path}:4:3"
    assert '"row.jsonl" does not exist' in found


def test_no_stage_at_all(tmp_path: Path) -> None:
    assert "asks for no stage" in problems(write(tmp_path, "name: x\nmodel: y\n"))[0][1]


def test_a_copy_elsewhere_names_the_same_files(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, SFT))
    run = tmp_path / "runs" / "tiny"
    values = moved(recipe, tmp_path, run)
    assert (run / values["sft"]["data"]).resolve() == tmp_path / "rows.jsonl"
    assert values["model"] == "smollm2-135m"
    assert Recipe.model_validate(values).stages() == ["sft"]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("support", [name for name in STAGES if name not in ("dpo", "kto", "distill", "rft", "online_dpo", "grpo")]),
        ("harmless", ["sft", "reward", "ppo", "evaluate"]),
        ("arithmetic", ["sft", "grpo", "evaluate"]),
    ],
)
def test_the_shipped_recipes(name: str, stages: list[str]) -> None:
    path = ROOT / "recipes" / f"{name}.yaml"
    data = "support/prompts.jsonl"  # the real data of harmless are given by the user
    overrides = [] if name != "harmless" else [f"reward.rankings={data}"]
    recipe = load_recipe(path, overrides)
    assert recipe.name == name
    assert recipe.stages() == stages
    assert resolved(recipe)["seed"] == recipe.seed


@pytest.mark.parametrize("store", ["postgresql://ines@db.example/labels", "postgresql://db.example:5432/labels"])
def test_a_database_is_named_without_its_password(tmp_path: Path, store: str) -> None:
    recipe = write(tmp_path, SFT + f"collect: {{prompts: rows.jsonl, by: people, store: {store!r}}}\n")
    found = load_recipe(recipe)
    assert run_folder.store_of(tmp_path, found) == store
    with pytest.raises(ConfigError, match="store"):
        load_recipe(recipe, ["collect.store=postgresql://ines:hunter2@db.example/labels"])


def test_judgements_are_kept_in_the_run_unless_a_database_is_named(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, SFT + "collect: {prompts: rows.jsonl, by: people}\n"))
    assert run_folder.store_of(tmp_path, recipe) == tmp_path / "preferences.db"
    assert run_folder.database("postgresql://db/labels") == "postgresql://db/labels"
    with pytest.raises(ConfigError, match="no preference database"):
        run_folder.database(str(tmp_path / "none.db"))


@pytest.mark.parametrize(
    "sections",
    [
        "collect: {prompts: rows.jsonl, by: people, k: 1, kind: good_bad}\nkto: {}",
        "collect: {prompts: rows.jsonl, by: people, k: 2, strength: true}\nreward: {margin: strengths}",
        "collect: {prompts: rows.jsonl, by: people, kind: scale, axes: [kind]}\nreward: {margin: strengths}",
    ],
)
def test_what_people_say_reaches_what_learns_from_it(tmp_path: Path, sections: str) -> None:
    load_recipe(write(tmp_path, SFT + sections + "\n"))
