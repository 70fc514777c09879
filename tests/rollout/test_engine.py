"""The engine against slower ways to the same answers: alone, in any company, by transformers, by the scorer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import LlamaConfig, LlamaForCausalLM

from burnish.batches import Document, pack
from burnish.errors import ConfigError, DataError, ModelError
from burnish.models.attention import NAME, register
from burnish.models.forward import Layout, Trainable
from burnish.rollout.cache import POSITIONS
from burnish.rollout.decoder import positions
from burnish.rollout.engine import Engine, Sampled
from burnish.types import Sampling, Stop

END = 7
VOCABULARY = 300
PREFIX = (11, 12, 13, 14)
PROMPTS: list[tuple[int, ...]] = [
    (*PREFIX, 20, 21),
    (*PREFIX, 20, 22, 23),
    (30,),
    (*PREFIX, 20),
    tuple(range(100, 170)),
    (31, 32, 33, 34, 35),
    (*PREFIX, 20, 21),
]


def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        attention_dropout=0.5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )


def whole(attention: str) -> LlamaForCausalLM:
    torch.manual_seed(3)
    made = config()
    made._attn_implementation = attention
    return LlamaForCausalLM(made)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def module() -> Trainable:
    register()
    model = whole(NAME)
    return Trainable(model.model, lm=model.lm_head)


def engine(module: Trainable, slots: int = 64, end_ids: Collection[int] = (END,)) -> Engine:
    return Engine(module, end_ids=end_ids, slots=slots)


def ids(rows: Sequence[Sequence[Sampled]]) -> list[list[tuple[int, ...]]]:
    return [[sampled.ids for sampled in row] for row in rows]


@pytest.mark.parametrize("temperature", [0.0, 1.3])
@pytest.mark.parametrize("slots", [1, 5, 64])
def test_answers_do_not_depend_on_company_slots_or_order(module: Trainable, temperature: float, slots: int) -> None:
    sampling = Sampling(temperature=temperature, max_new_tokens=40, seed=5)
    alone = [ids(engine(module).generate([prompt], sampling, n=2))[0] for prompt in PROMPTS]
    assert ids(engine(module, slots).generate(PROMPTS, sampling, n=2)) == alone
    assert ids(engine(module, slots).generate(PROMPTS[::-1], sampling, n=2)) == alone[::-1]


@pytest.mark.parametrize("slots", [1, 5])
def test_each_prompt_may_have_a_seed_of_its_own(module: Trainable, slots: int) -> None:
    """The last prompt is the first again: another seed, other answers, as if each were asked alone."""
    sampling, seeds = Sampling(max_new_tokens=12, seed=5), [5, 5, 9, 0, 5, 5, 6]
    rows = ids(engine(module, slots).generate(PROMPTS, sampling, n=2, seeds=seeds))
    alone = [
        ids(engine(module).generate([prompt], replace(sampling, seed=seed), n=2))[0]
        for prompt, seed in zip(PROMPTS, seeds, strict=True)
    ]
    assert rows == alone
    assert not set(rows[0]) & set(rows[-1])


@pytest.mark.parametrize("layout", Layout)
def test_greedy_is_transformers_greedy(layout: Layout) -> None:
    reference = whole("sdpa").eval()
    register()
    model = whole(NAME if layout is Layout.TREE else "sdpa")
    rows = engine(Trainable(model.model, lm=model.lm_head, layout=layout), 3, end_ids=()).generate(
        PROMPTS, Sampling(temperature=0, max_new_tokens=12)
    )
    for prompt, row in zip(PROMPTS, rows, strict=True):
        given = torch.tensor([prompt])
        wanted: Any = reference.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=12, do_sample=False, pad_token_id=0
        )
        assert row[0].ids == tuple(wanted[0, len(prompt) :].tolist())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_the_scorers(module: Trainable, temperature: float) -> None:
    rows = engine(module, 4).generate(PROMPTS, Sampling(temperature=temperature, max_new_tokens=20), n=3)
    documents = [
        Document(row=str(i), ids=prompt, branches=[sampled.ids for sampled in row])
        for i, (prompt, row) in enumerate(zip(PROMPTS, rows, strict=True))
    ]
    module.eval()
    with torch.no_grad():
        scored = module(pack(documents, temperature)).logprobs_N
    sampled = torch.tensor([logprob for row in rows for answer in row for logprob in answer.logprobs])
    torch.testing.assert_close(sampled, scored, rtol=0, atol=2e-5)  # fp32: logits of some tens, added in two ways


def test_greedy_logprobs_are_the_models_at_temperature_1(module: Trainable) -> None:
    (answer,) = engine(module).generate([PROMPTS[1]], Sampling(temperature=0, max_new_tokens=5))[0]
    module.eval()
    with torch.no_grad():
        scored = module(pack([Document(row="", ids=PROMPTS[1], branches=[answer.ids])])).logprobs_N
    torch.testing.assert_close(torch.tensor(answer.logprobs), scored, rtol=0, atol=1e-5)


def test_shared_prefixes_pass_the_backbone_once(module: Trainable) -> None:
    used = engine(module, end_ids=())
    used.generate(PROMPTS, Sampling(max_new_tokens=3), n=4)
    distinct = {prompt[: k + 1] for prompt in PROMPTS for k in range(len(prompt))}
    # The first token of an answer comes from the prompt's pass, the last one is never passed.
    assert used.forwarded == len(distinct) + len(PROMPTS) * 4 * (3 - 1)


def test_answers_end_with_the_end_token_or_with_the_budget(module: Trainable) -> None:
    rows = engine(module, 8).generate(PROMPTS, Sampling(temperature=2.0, max_new_tokens=60), n=8)
    answers = [answer for row in rows for answer in row]
    assert {answer.stop for answer in answers} == {Stop.EOS, Stop.LENGTH}
    for answer in answers:
        assert len(answer.logprobs) == len(answer.ids)
        assert END not in answer.ids[:-1]
        assert (answer.ids[-1] == END) == (answer.stop is Stop.EOS)
        assert answer.stop is Stop.EOS or len(answer.ids) == 60


def test_the_budget_does_not_change_what_fits_it(module: Trainable) -> None:
    short, long = (
        ids(engine(module, end_ids=()).generate(PROMPTS, Sampling(max_new_tokens=budget))) for budget in (1, 9)
    )
    assert short == [[row[0][:1]] for row in long]


def test_seeds_samples_and_prompts_differ(module: Trainable) -> None:
    first, second = (
        engine(module).generate([PROMPTS[0]], Sampling(max_new_tokens=8, seed=seed), n=6)[0] for seed in (0, 1)
    )
    assert len({answer.ids for answer in [*first, *second]}) == 12


def test_frequencies_are_the_softmax(module: Trainable) -> None:
    prompts = [(20 + a, 20 + b) for a in range(2) for b in range(2)]
    rows = engine(module, 256).generate(prompts, Sampling(temperature=0.7, max_new_tokens=1), n=1500)
    for prompt, row in zip(prompts, rows, strict=True):
        with torch.no_grad():
            hidden_C = module.eval().hidden(pack([Document(row="", ids=prompt)]))[-1]
            expected_V = (module.lm(hidden_C) / 0.7).softmax(-1).double() * len(row)
        counts = Counter(answer.ids[0] for answer in row)
        common = [token for token in range(VOCABULARY) if expected_V[token] >= 5]
        seen = [counts[token] for token in common]
        wanted = [float(expected_V[token]) for token in common]
        seen.append(len(row) - sum(seen))
        wanted.append(len(row) - sum(wanted))
        assert chisquare(seen, wanted).pvalue > 1e-3


def test_weights_changed_in_place_are_used_at_once(module: Trainable) -> None:
    used = engine(module, end_ids=())
    greedy = Sampling(temperature=0, max_new_tokens=6)
    before = ids(used.generate(PROMPTS, greedy))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.2)
    after = ids(used.generate(PROMPTS, greedy))
    assert after != before
    assert after == ids(engine(module, end_ids=()).generate(PROMPTS, greedy))


def test_an_answer_ends_at_the_first_of_several_ends(module: Trainable) -> None:
    sampling = Sampling(max_new_tokens=40, seed=5)
    [[free]] = engine(module, end_ids=()).generate(PROMPTS[:1], sampling)
    ends = {free.ids[9], free.ids[4]}
    first = next(place for place, token in enumerate(free.ids) if token in ends)
    [[ended]] = engine(module, end_ids=ends).generate(PROMPTS[:1], sampling)
    assert (ended.ids, ended.stop) == (free.ids[: first + 1], Stop.EOS)


def test_answers_may_end_with_their_first_token_before_a_step_has_made_room(
    module: Trainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first wave leaves a slot free, the second fills all: some of it end at once, and others take their rows."""

    def soon(ids: Sequence[int]) -> bool:
        return ids[0] % 3 > 0

    sampling = replace(Sampling(), max_new_tokens=6, stop=("unread",))
    wanted = ids(engine(module, slots=1).generate(PROMPTS, sampling, 8, stopped=soon))
    assert {len(answer) for row in wanted for answer in row} > {1}
    monkeypatch.setattr("burnish.rollout.engine.wave_size", lambda prompts: min(7, len(prompts)))
    assert ids(engine(module, slots=8).generate(PROMPTS, sampling, 8, stopped=soon)) == wanted


def test_a_stopped_answer_has_the_ids_up_to_there(module: Trainable) -> None:
    def thrice(ids: Sequence[int]) -> bool:
        return sum(token % 3 == 0 for token in ids) == 3

    free = Sampling(max_new_tokens=30, seed=2)
    whole = engine(module, 5).generate(PROMPTS, free, 3)
    rows = engine(module, 5).generate(PROMPTS, replace(free, stop=("x",)), 3, stopped=thrice)
    for answer, full in (
        (a, b) for row, other in zip(rows, whole, strict=True) for a, b in zip(row, other, strict=True)
    ):
        cuts = [k for k in range(1, len(full.ids) + 1) if thrice(full.ids[:k])]
        cut = min(cuts, default=len(full.ids))
        assert answer.ids == full.ids[:cut]
        assert answer.logprobs == pytest.approx(full.logprobs[:cut], abs=1e-5)
        assert answer.stop is (Stop.STRING if cuts and full.ids[cut - 1] != END else full.stop)
    assert Stop.STRING in {answer.stop for row in rows for answer in row}


@pytest.mark.parametrize("slots", [1, 5])
def test_every_option_depends_on_the_answer_alone(module: Trainable, slots: int) -> None:
    sampling = Sampling(
        temperature=1.2, top_k=50, top_p=0.9, min_p=0.01, repetition_penalty=1.5, max_new_tokens=25, seed=4
    )
    alone = [ids(engine(module).generate([prompt], sampling, n=2))[0] for prompt in PROMPTS]
    assert ids(engine(module, slots).generate(PROMPTS, sampling, n=2)) == alone


@pytest.mark.parametrize("penalty", [1.4, 0.7])
def test_repetition_penalty_is_over_prompt_and_answer_as_transformers_has_it(module: Trainable, penalty: float) -> None:
    reference = whole("sdpa").eval()
    sampling = Sampling(temperature=0, repetition_penalty=penalty, max_new_tokens=15)
    rows = engine(module, 3, end_ids=()).generate(PROMPTS, sampling)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        given = torch.tensor([prompt])
        wanted: Any = reference.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=15,
            do_sample=False,
            repetition_penalty=penalty,
            pad_token_id=0,
        )
        assert row[0].ids == tuple(wanted[0, len(prompt) :].tolist())


def test_answers_say_which_weights_said_them(module: Trainable) -> None:
    used = engine(module)
    used.version = 3
    first = used.generate(PROMPTS, Sampling(max_new_tokens=2))
    used.version = 4
    second = used.generate(PROMPTS, Sampling(max_new_tokens=2))
    assert {answer.version for row in first for answer in row} == {3}
    assert {answer.version for row in second for answer in row} == {4}


def test_modes_are_restored_part_by_part(module: Trainable) -> None:
    module.train()
    module.backbone.layers[1].eval()
    modes = [part.training for part in module.modules()]
    engine(module).generate(PROMPTS, Sampling(max_new_tokens=2))
    assert [part.training for part in module.modules()] == modes
    assert True in modes
    assert False in modes


def test_progress_counts_answers(module: Trainable) -> None:
    class Counting:
        total = done = 0

        def start(self, label: str, total: int) -> None:
            self.total = total

        def advance(self, done: int = 1, note: str = "") -> None:
            self.done += done

        def finish(self, note: str = "") -> None:
            pass

    progress = Counting()
    engine(module, 5).generate(PROMPTS, Sampling(max_new_tokens=3), 2, progress)
    assert (progress.total, progress.done) == (14, 14)


def test_no_prompts_no_answers(module: Trainable) -> None:
    assert engine(module).generate([], Sampling()) == []
    assert engine(module).generate([(1,)], Sampling(), n=0) == [[]]


def test_a_sampling_that_cannot_be_meant_is_refused_whole(module: Trainable) -> None:
    with pytest.raises(ConfigError) as caught:
        engine(module).generate(
            [(1,)],
            Sampling(temperature=-1, top_k=0, top_p=0, min_p=2, repetition_penalty=0, stop=("",), max_new_tokens=0),
        )
    named = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "max_new_tokens"]
    assert [problem.where for problem in caught.value.problems] == named


def test_prompts_that_are_empty_or_too_long_are_all_named(module: Trainable) -> None:
    with pytest.raises(DataError) as caught:
        engine(module).generate([(1,), (), tuple([1] * 250)], Sampling(max_new_tokens=7))
    assert sorted(problem.where for problem in caught.value.problems) == ["prompt 1", "prompt 2"]


def test_logits_that_are_not_finite_stop_it(module: Trainable) -> None:
    with torch.no_grad():
        module.backbone.norm.weight[0] = float("nan")
    for temperature in (0.0, 1.0):
        with pytest.raises(ModelError, match="not finite"):
            engine(module).generate([(1,)], Sampling(temperature=temperature))


def test_a_module_without_lm_head_is_refused(module: Trainable) -> None:
    with pytest.raises(ModelError, match="no LM head"):
        engine(Trainable(module.backbone))


@pytest.mark.parametrize(("rooms", "found"), [(1000, 512), (1024, 1024), (1.5, 1), (0, 1)])
def test_on_a_gpu_half_of_what_is_free_is_for_keys_and_values(
    module: Trainable, monkeypatch: pytest.MonkeyPatch, rooms: float, found: int
) -> None:
    """A position takes two layers' keys and values of two heads of 8 numbers, in fp32."""
    assert positions(module) == POSITIONS, "a CPU's memory is everybody's"
    alone = ids(engine(module).generate(PROMPTS, Sampling(max_new_tokens=9, seed=5), n=2))
    monkeypatch.setattr("burnish.rollout.decoder.free_bytes", lambda device: int(2 * rooms * 2 * 2 * 2 * 8 * 4))
    assert positions(module) == found
    assert ids(engine(module).generate(PROMPTS, Sampling(max_new_tokens=9, seed=5), n=2)) == alone
