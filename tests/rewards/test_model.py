"""Reward models as scorers and as rewards: normalisation, the mean of an ensemble, and what they are shown, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Output, Trainable
from burnish.rewards.model import EnsembleReward, LearnedReward, ModelReward, normalised
from burnish.types import Completion, Message, Prompt, Stop

BATCH = pack([Document(row="q", ids=[1], branches=[[2], [3], [4]])])


class Fixed(Trainable):
    """Says the same scores of every batch."""

    def __init__(self, *scores: float) -> None:
        super().__init__(nn.Identity())
        self.scores_B: Tensor = torch.tensor(scores)

    def forward(self, batch: Batch) -> Output:
        return Output(scores_B=self.scores_B)


def test_scores_are_shifted_and_scaled_on_the_answers_given() -> None:
    reward = normalised(Fixed(1.0, 2.0, 6.0), [BATCH])
    assert reward.mean == pytest.approx(3.0)
    assert reward.std == pytest.approx((14 / 3) ** 0.5)
    assert reward.scores(BATCH).tolist() == pytest.approx([-2 / reward.std, -1 / reward.std, 3 / reward.std])


def test_scores_without_spread_stay_finite() -> None:
    assert normalised(Fixed(2.0, 2.0, 2.0), [BATCH]).scores(BATCH).tolist() == [0.0, 0.0, 0.0]


def test_an_ensemble_is_the_mean_of_normalised_scores() -> None:
    members = (ModelReward(Fixed(0.0, 1.0, 2.0), mean=1.0, std=2.0), ModelReward(Fixed(30.0, 10.0, 20.0), 20.0, 10.0))
    assert EnsembleReward(members).scores(BATCH).tolist() == pytest.approx([0.25, -0.5, 0.25])
    assert EnsembleReward(members[:1]).scores(BATCH).tolist() == members[0].scores(BATCH).tolist()


def test_an_ensemble_may_be_as_sure_as_its_least_sure_member() -> None:
    """Members say 0 and 2, 1 and 1, 3 and -1: means 1, spreads 1, 0 and 2."""
    members = (ModelReward(Fixed(0.0, 1.0, 3.0)), ModelReward(Fixed(2.0, 1.0, -1.0)))
    assert EnsembleReward(members, "worst").scores(BATCH).tolist() == [0.0, 1.0, -1.0]
    assert EnsembleReward(members, "mean_less_spread").scores(BATCH).tolist() == [0.0, 1.0, -1.0]
    assert EnsembleReward(members, "mean_less_spread", 0.5).scores(BATCH).tolist() == [0.5, 1.0, 0.0]
    assert EnsembleReward(members[:1], "mean_less_spread").scores(BATCH).tolist() == [0.0, 1.0, 3.0]


def test_what_each_member_says_is_a_part() -> None:
    members = (ModelReward(Fixed(0.0, 1.0, 3.0)), ModelReward(Fixed(2.0, 1.0, -1.0)))
    reward = LearnedReward(scorer=EnsembleReward(members, "worst"), ids=Marked(), micro_tokens=100, name="rm")
    prompts = [Prompt(id="a", messages=(Message(role="user", content="a"),))] * 3
    rated = reward.score(prompts, [Completion(text="?", stop=Stop.EOS, ids=(n, 9)) for n in range(3)])
    assert rated.scores == [0.0, 1.0, -1.0]
    assert rated.parts == {
        "rm": rated.scores,
        "rm/1": [0.0, 1.0, 3.0],
        "rm/2": [2.0, 1.0, -1.0],
        "rm/spread": [1.0, 0.0, 2.0],
    }


class Marked:
    """A prompt is its first character's code; token 9 ends an answer."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        return [ord(messages[0].content[0])]

    def answer(self, text: str) -> list[int]:
        return [*map(int, text), 9]

    def closed(self, ids: Sequence[int]) -> list[int]:
        return list(ids) if 9 in ids else [*ids, 9]


class Reader:
    """Scores an answer by its length, and keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[tuple[str, list[list[int]]]]] = []

    def scores(self, batch: Batch) -> Tensor:
        branches = [batch.target_N[batch.answer_N == answer].tolist() for answer in range(batch.last_B.numel())]
        of_row = [
            (row, [b for b, d in zip(branches, batch.prompt_B, strict=True) if d == n])
            for n, row in enumerate(batch.rows)
        ]
        self.shown.append(of_row)
        assert bool((batch.ids_T[batch.last_B] == 9).all())  # every answer is read at an end marker
        return torch.tensor([float(len(branch)) for branch in branches])


@pytest.mark.parametrize(("budget", "packs"), [(100, 1), (10, 2), (1, 3)])
def test_answers_to_a_prompt_are_one_tree_closed_by_an_end_marker(budget: int, packs: int) -> None:
    """Of their own ids: the text is not looked at. Trees of 1 + 2 + 3 and 1 + 2 and 1 + 4 tokens."""
    prompts = [Prompt(id=name, messages=(Message(role="user", content=name),)) for name in ("a", "a", "b", "c")]
    said = [
        Completion(text="?", stop=Stop.EOS if 9 in ids else Stop.LENGTH, ids=ids)
        for ids in ((1, 9), (2, 3), (4,), (5, 6, 7, 9))
    ]
    reader = Reader()
    rated = LearnedReward(scorer=EnsembleReward((reader,)), ids=Marked(), micro_tokens=budget).score(prompts, said)
    assert rated.scores == [2.0, 3.0, 2.0, 4.0]
    assert rated.parts == {"model": rated.scores}
    flat = [each for part in reader.shown for each in part]
    assert flat == [("a", [[1, 9], [2, 3, 9]]), ("b", [[4, 9]]), ("c", [[5, 6, 7, 9]])]
    assert len(reader.shown) == packs


def test_text_that_came_without_ids_is_read() -> None:
    prompt = Prompt(id="a", messages=(Message(role="user", content="a"),))
    reader = Reader()
    said = [Completion(text="123", stop=Stop.EOS), Completion(text="", stop=Stop.FILTER)]
    reward = LearnedReward(scorer=EnsembleReward((reader,)), ids=Marked(), micro_tokens=100)
    assert reward.score([prompt] * 2, said).scores == [4.0, 1.0]
    assert reader.shown == [[("a", [[1, 2, 3, 9], [9]])]]
