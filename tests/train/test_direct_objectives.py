"""Direct preference objectives with the real loop, on problems small enough to know the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from burnish.batches import Batch, Document, pack
from burnish.errors import DataError
from burnish.models.forward import Output, Trainable
from burnish.models.load import load_trainable
from burnish.models.tiny import write_tiny
from burnish.runs import MetricsLog
from burnish.train.direct import DirectPreference, Kto, Method
from burnish.train.feeds import DatasetFeed, mismatched
from burnish.train.loop import FitConfig, fit
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.parallel import Alone
from burnish.train.references import ReferencedFeed, reference_logprobs

PROMPT = 0


class Table(Trainable):
    """One distribution of the next token, whatever came before: no network, the same forward."""

    def __init__(self, probs: Sequence[float]) -> None:
        super().__init__(nn.Identity())
        self.logits_V = nn.Parameter(torch.tensor(probs).log())
        self.calls = 0

    def forward(self, batch: Batch) -> Output:
        self.calls += 1
        return Output(logprobs_N=self.logits_V.log_softmax(-1)[batch.target_N])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


PROBS = [0.4, 0.3, 0.2, 0.1]
LOGS = [math.log(p) for p in PROBS]
REFERENCE = [0.1, 0.2, 0.3, 0.4]


def ranked(documents: list[Document], ranks: list[list[int]], *, referenced: bool = True) -> Batch:
    batch = pack(documents).with_extra(ranks_B=torch.tensor([rank for row in ranks for rank in row]))
    said_V = torch.tensor(REFERENCE).log()
    return batch.with_extra(ref_logprobs_N=said_V[batch.target_N]) if referenced else batch


LONG_AND_SHORT = [Document(row="a", ids=[PROMPT], branches=[[0, 1, 2], [3]])]
"""log π of the answers: log .4·.3·.2 and log .1; of the reference: log .1·.2·.3 and log .4."""
RATIO = math.log(0.024 / 0.006), math.log(0.1 / 0.4)
MEAN = math.log(0.024) / 3, math.log(0.1)


@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ("dpo", softplus(-0.1 * (RATIO[0] - RATIO[1]))),
        ("ipo", (RATIO[0] - RATIO[1] - 5.0) ** 2),
        ("dpo_norm", softplus(-0.1 * (RATIO[0] / 3 - RATIO[1]))),
        ("simpo", softplus(-0.1 * (MEAN[0] - MEAN[1]) + 0.3)),
    ],
)
def test_what_is_compared_in_a_pair_of_unequal_lengths(method: Method, loss: float) -> None:
    objective = DirectPreference(method, beta=0.1, gamma=0.3)
    batch = ranked(LONG_AND_SHORT, [[1, 2]], referenced=not objective.reference_free)
    assert objective.counts(batch) == {"preference": 1.0}
    assert objective.loss(Table(PROBS), batch).sums["preference"].item() == pytest.approx(loss, rel=1e-5)


def test_orpo_is_a_likelihood_and_an_odds_ratio() -> None:
    objective = DirectPreference("orpo", beta=0.25)
    found = objective.loss(Table(PROBS), ranked(LONG_AND_SHORT, [[1, 2]], referenced=False))
    odds = [math.exp(mean) / (1 - math.exp(mean)) for mean in MEAN]
    assert objective.weights == {"preference": 0.25, "nll": 1.0}
    assert found.sums["nll"].item() == pytest.approx(-MEAN[0], rel=1e-5)
    assert found.sums["preference"].item() == pytest.approx(softplus(-math.log(odds[0] / odds[1])), rel=1e-5)


def test_the_likelihood_of_the_better_answer_can_stand_beside_any_loss() -> None:
    objective = DirectPreference("dpo", beta=0.1, nll=0.5)
    found = objective.loss(Table(PROBS), ranked(LONG_AND_SHORT, [[2, 1]]))
    assert objective.weights == {"preference": 1.0, "nll": 0.5}
    assert found.sums["nll"].item() == pytest.approx(-MEAN[1], rel=1e-5)


def test_swapped_ranks_turn_h_round() -> None:
    objective = DirectPreference("dpo", beta=0.1)
    right, wrong = (objective.loss(Table(PROBS), ranked(LONG_AND_SHORT, [order])) for order in ([1, 2], [2, 1]))
    assert right.metrics["rewards/margins"][0] == pytest.approx(-wrong.metrics["rewards/margins"][0])
    assert right.metrics["rewards/margins"][0] == pytest.approx(0.1 * (RATIO[0] - RATIO[1]), rel=1e-5)
    assert right.metrics["rewards/accuracies"] == (1.0, 1.0)
    assert wrong.metrics["rewards/accuracies"] == (0.0, 1.0)
    assert right.metrics["logps/chosen"][0] == pytest.approx(math.log(0.024), rel=1e-5)
    assert right.metrics["logps/rejected"][0] == pytest.approx(math.log(0.1), rel=1e-5)


def test_a_prompt_counts_once_however_many_pairs_it_has() -> None:
    """Three answers in order (three pairs) and two answers; a prompt of ties is not counted."""
    three = Document(row="a", ids=[PROMPT], branches=[[0], [1], [2]])
    pair = Document(row="b", ids=[PROMPT], branches=[[3], [0]])
    tie = Document(row="c", ids=[PROMPT], branches=[[1], [2]])
    ratio = [math.log(p / q) for p, q in zip(PROBS, REFERENCE, strict=True)]
    objective = DirectPreference("dpo", beta=0.1)
    batch = ranked([three, pair, tie], [[1, 2, 3], [1, 2], [1, 1]])
    pairs = [softplus(-0.1 * (ratio[i] - ratio[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert objective.counts(batch) == {"preference": 2.0}
    found = objective.loss(Table(PROBS), batch)
    assert found.sums["preference"].item() == pytest.approx(
        sum(pairs) / 3 + softplus(-0.1 * (ratio[3] - ratio[0])), rel=1e-5
    )
    assert found.metrics["rewards/margins"][1] == 4


def learned(method: Method, tmp_path: Path, **settings: float) -> Tensor:
    """The policy after training on comparisons that 0 wins 3 of 4 times against 1 and 2, which are even."""
    wins = [(0, 1)] * 3 + [(1, 0)] + [(0, 2)] * 3 + [(2, 0)] + [(1, 2)] * 2 + [(2, 1)] * 2
    documents = [Document(row=f"{n}", ids=[PROMPT], branches=[[a], [b]]) for n, (a, b) in enumerate(wins)]
    feed = DatasetFeed(documents, per_step=12, micro_tokens=18, seed=0, ranks=[[1, 2]] * 12)
    reference = reference_logprobs(Table(REFERENCE), feed, tmp_path / "reference", save_every=5)
    table = Table(REFERENCE)
    optimizer = Optimizer(table, OptimConfig(lr=0.05, steps=400, schedule="linear", betas=(0.9, 0.99)))
    objective = DirectPreference(method, beta=0.7, **settings)
    fit(table, ReferencedFeed(feed, reference), objective, optimizer, FitConfig(steps=400, seed=0))
    return table.logits_V.detach().softmax(-1)[:3]


def tilted(exponent: float) -> list[float]:
    """Of the first three answers: the reference with the first one's weight times e^exponent, as shares of them."""
    weights = [REFERENCE[0] * math.exp(exponent), REFERENCE[1], REFERENCE[2]]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize(
    ("method", "settings", "exponent"),
    [
        ("dpo", {}, math.log(3) / 0.7),  # odds of 3 to 1, to the power 1/β
        ("ipo", {}, 0.25 / 0.7),  # mean win rates, itself included: 2/3 and 5/12
        ("cdpo", {"smoothing": 0.2}, math.log(0.65 / 0.35) / 0.7),  # 3/4 · 0.8 + 1/4 · 0.2 = 0.65
        ("robust", {"smoothing": 0.2}, math.log((0.55 / 0.6) / (0.05 / 0.6)) / 0.7),  # (3/4 - 0.2)/(1 - 0.4)
    ],
)
def test_training_reaches_the_optimum(
    tmp_path: Path, method: Method, settings: dict[str, float], exponent: float
) -> None:
    found = learned(method, tmp_path, **settings)
    assert (found / found.sum()).tolist() == pytest.approx(tilted(exponent), abs=2e-3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("direct") / "tiny", dropout=0.1)


def trees() -> tuple[list[Document], list[list[int]]]:
    """Prompts and answers of unequal length, and their ranks."""
    documents = [
        Document(
            row=f"t{n}",
            ids=[(17 * n + 5 * i) % 250 for i in range(4 + n)],
            branches=[[(13 * n + 11 * k + 3 * i) % 250 for i in range(3 + k + n % 3)] for k in range(2 + n % 2)],
        )
        for n in range(9)
    ]
    return documents, [list(range(1, len(d.branches) + 1)) for d in documents]


def feed_of(micro_tokens: int = 60, seed: int = 1) -> DatasetFeed:
    documents, ranks = trees()
    return DatasetFeed(documents, per_step=4, micro_tokens=micro_tokens, seed=seed, ranks=ranks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_starts_at_ln_2_to_the_bit(tiny: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    """In the first pass the reference read the very packs that are trained on, so that nothing differs at all."""
    module = load_trainable(tiny, dtype=dtype)
    feed = feed_of()
    referenced = ReferencedFeed(feed, reference_logprobs(module, feed, tmp_path, save_every=2))
    objective = DirectPreference("dpo", beta=0.5)
    module.train(objective.dropout)
    for step in range(2):  # the third reaches into the next pass
        for batch in referenced.next(step).batches:
            found = objective.loss(module, batch)
            assert found.metrics["rewards/margins"][0] == 0.0
            mean = found.sums["preference"].item() / objective.counts(batch)["preference"]
            assert mean == pytest.approx(math.log(2), abs=1e-6)


def test_in_other_packs_it_starts_there_up_to_rounding(tiny: Path, tmp_path: Path) -> None:
    module = load_trainable(tiny, dtype=torch.float32)
    reference = reference_logprobs(module, feed_of(), tmp_path, save_every=2)
    objective = DirectPreference("dpo", beta=0.1)
    for step in (3, 4, 5):
        for batch in ReferencedFeed(feed_of(micro_tokens=200, seed=9), reference).next(step).batches:
            mean = objective.loss(module, batch).sums["preference"].item() / objective.counts(batch)["preference"]
            assert mean == pytest.approx(math.log(2), abs=1e-6)


def test_what_a_reference_said_is_kept(tmp_path: Path) -> None:
    table, feed = Table([1 / 250] * 250), feed_of()
    first = reference_logprobs(table, feed, tmp_path, save_every=2)
    made = table.calls
    again = reference_logprobs(table, feed, tmp_path, save_every=1)
    assert table.calls == made > 0
    assert first.keys() == again.keys() == {f"t{n}" for n in range(9)}
    assert all(torch.equal(first[row], again[row]) for row in first)


def test_a_damaged_part_is_made_again(tiny: Path, tmp_path: Path) -> None:
    module, feed = load_trainable(tiny, dtype=torch.float32), feed_of()
    first = reference_logprobs(module, feed, tmp_path, save_every=1)
    part = sorted(tmp_path.glob("steps-*"))[1] / "logprobs.safetensors"
    spoilt = bytearray(part.read_bytes())
    spoilt[-2] ^= 1
    part.write_bytes(bytes(spoilt))
    again = reference_logprobs(module, feed, tmp_path, save_every=1)
    assert all(torch.equal(first[row], again[row]) for row in first)


class Numbered(Table):
    """Adds the number of the call to what it says: every pack reads otherwise, as with rounding, but to be seen."""

    def __init__(self, probs: Sequence[float]) -> None:
        super().__init__(probs)
        self.first: dict[str, int] = {}

    def forward(self, batch: Batch) -> Output:
        found = super().forward(batch)
        for row in batch.rows:
            self.first.setdefault(row, self.calls)
        assert found.logprobs_N is not None
        return Output(logprobs_N=found.logprobs_N + self.calls)


@pytest.mark.parametrize("save_every", [1, 3])
def test_the_first_pass_counts_where_a_step_reaches_into_the_next(tmp_path: Path, save_every: int) -> None:
    table = Numbered([1 / 250] * 250)
    found = reference_logprobs(table, feed_of(), tmp_path, save_every=save_every)
    said = {row: float(logprobs[0]) + math.log(250) for row, logprobs in found.items()}
    assert said == pytest.approx(table.first, abs=1e-4)


class Killed(BaseException):
    pass


class Mortal(Table):
    def forward(self, batch: Batch) -> Output:
        if self.calls == 3:
            raise Killed
        return super().forward(batch)


def test_a_killed_reference_goes_on_where_it_was(tmp_path: Path) -> None:
    probs = [1 / 250] * 250
    feed = feed_of(micro_tokens=40)
    with pytest.raises(Killed):
        reference_logprobs(Mortal(probs), feed, tmp_path / "cut", save_every=1)
    kept = len(list((tmp_path / "cut").glob("steps-*")))
    assert 0 < kept < feed.steps_per_pass
    table, whole = Table(probs), Table(probs)
    found = reference_logprobs(table, feed, tmp_path / "cut", save_every=1)
    wanted = reference_logprobs(whole, feed, tmp_path / "whole", save_every=1)
    assert table.calls < whole.calls
    assert all(torch.equal(found[row], wanted[row]) for row in wanted)


def test_what_is_kept_stays_where_the_pieces_become_longer(tmp_path: Path) -> None:
    """A run that was killed goes on with another save_every: what the first one kept is not written over."""
    probs = [1 / 250] * 250
    feed = feed_of(micro_tokens=40)
    with pytest.raises(Killed):
        reference_logprobs(Mortal(probs), feed, tmp_path, save_every=1)
    found = reference_logprobs(Table(probs), feed, tmp_path, save_every=50)
    table = Table(probs)
    again = reference_logprobs(table, feed, tmp_path, save_every=50)
    assert table.calls == 0
    assert again.keys() == found.keys() == feed.rows


def test_a_feed_is_known_by_its_tokens_and_its_packs() -> None:
    assert feed_of().digest() == feed_of().digest()
    assert len({feed_of().digest(), feed_of(micro_tokens=61).digest(), feed_of(seed=2).digest()}) == 3
    documents, ranks = trees()
    documents[3] = Document(row="t3", ids=[1, *documents[3].ids[1:]], branches=documents[3].branches)
    other = DatasetFeed(documents, per_step=4, micro_tokens=60, seed=1, ranks=ranks)
    assert other.digest() != feed_of().digest()


def test_a_run_from_the_loop_logs_trls_names(tiny: Path, tmp_path: Path) -> None:
    module, feed = load_trainable(tiny, dtype=torch.float32), feed_of()
    referenced = ReferencedFeed(feed, reference_logprobs(module, feed, tmp_path / "reference", save_every=2))
    optimizer = Optimizer(module, OptimConfig(lr=1e-3, steps=30))
    log = MetricsLog(tmp_path / "metrics.jsonl")
    fit(module, referenced, DirectPreference("dpo", beta=0.5), optimizer, FitConfig(steps=30, seed=1), log=log)
    rows = log.read()
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[-1]["loss"] < 0.5
    assert rows[-1]["rewards/accuracies"] == 1.0
    names = {"rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"}
    assert names | {"logps/chosen", "logps/rejected"} <= rows[0].keys()


UNPAIRED = [
    Document(row="a", ids=[0], branches=[[0], [3]]),
    Document(row="b", ids=[0], branches=[[1]]),
    Document(row="c", ids=[1], branches=[[2]]),
    Document(row="d", ids=[2], branches=[[0]]),
]
DESIRABLE = [[True, False], [True], [False], [True]]


def unpaired(micro_tokens: int) -> DatasetFeed:
    return DatasetFeed(
        UNPAIRED,
        per_step=4,
        micro_tokens=micro_tokens,
        seed=3,
        desirable=DESIRABLE,
        measured=mismatched(UNPAIRED),
    )


def test_mismatched_pairs_are_of_different_prompts() -> None:
    assert [(d.row, d.ids, list(d.branches)) for d in mismatched(UNPAIRED)] == [
        ("a mismatched", [0], [[2]]),  # the next row has the same prompt
        ("b mismatched", [0], [[2]]),
        ("c mismatched", [1], [[0]]),
        ("d mismatched", [2], [[0]]),
    ]
    with pytest.raises(DataError, match="the same prompt"):
        mismatched(UNPAIRED[:2])


class Two:
    """Two ranks that saw the same."""

    size = 2

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: 2 * value for name, value in values.items()}


@pytest.mark.parametrize("micro_tokens", [3, 5, 100])
@pytest.mark.parametrize("ranks", [Alone(), Two()])
def test_kto_has_one_reference_point_a_step_however_it_is_cut(
    tmp_path: Path, micro_tokens: int, ranks: Alone | Two
) -> None:
    """Log-ratios of the answers 0, 1, 2, 3: log 4, log 1.5, log 2/3, log 1/4. Mismatched: 2, 2, 0, 0."""
    ratio = [math.log(p / q) for p, q in zip(PROBS, REFERENCE, strict=True)]
    z0 = (2 * ratio[2] + 2 * ratio[0]) / 4
    assert z0 > 0
    feed = unpaired(micro_tokens)
    referenced = ReferencedFeed(feed, reference_logprobs(Table(REFERENCE), feed, tmp_path, save_every=1))
    work, objective = referenced.next(0), Kto(beta=0.1, undesirable_weight=1.2)
    table = Table(PROBS)
    objective.prepare(table, work.measured, ranks)
    found = [objective.loss(table, batch) for batch in work.batches]
    good = [1 - sigmoid(0.1 * (ratio[i] - z0)) for i in (0, 1, 0)]
    bad = [1.2 * (1 - sigmoid(0.1 * (z0 - ratio[i]))) for i in (3, 2)]
    assert sum(each.sums["preference"].item() for each in found) == pytest.approx(sum(good) + sum(bad), rel=1e-5)
    assert sum(objective.counts(batch)["preference"] for batch in work.batches) == 5
    kl = [each.metrics["kl"] for each in found]
    assert sum(total for total, _ in kl) / sum(count for _, count in kl) == pytest.approx(z0, rel=1e-5)


def test_the_loop_prepares_kto_before_every_step(tmp_path: Path) -> None:
    """Training raises good answers over bad ones, and the cut into micro-batches changes rounding only."""
    policies = []
    for micro_tokens in (3, 100):
        feed = unpaired(micro_tokens)
        reference = reference_logprobs(Table(REFERENCE), feed, tmp_path / str(micro_tokens), save_every=9)
        table, log = Table(REFERENCE), MetricsLog(tmp_path / f"{micro_tokens}.jsonl")
        optimizer = Optimizer(table, OptimConfig(lr=0.05, steps=40, schedule="constant"))
        config = FitConfig(steps=40, seed=0)
        fit(table, ReferencedFeed(feed, reference), Kto(beta=0.5), optimizer, config, log=log)
        rows = log.read()
        assert rows[0]["loss"] == pytest.approx(0.5, abs=1e-6)  # ρ = z0 = 0
        assert rows[0]["kl"] == pytest.approx(0, abs=1e-6)
        assert max(row["kl"] for row in rows) > 0.01
        assert rows[-1]["rewards/chosen"] > 0.1 > -0.1 > rows[-1]["rewards/rejected"]
        policies.append(table.logits_V.detach().softmax(-1))
    assert torch.allclose(policies[0], policies[1], atol=1e-4)
