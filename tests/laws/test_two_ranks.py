"""Two processes make the step of one, for every method and way of training, with whole weights and with shards; for the
other losses of each family with an adapter in shards, where all of it is in play."""

from __future__ import annotations

from burnish.proof.laws import STEP
from burnish.proof.methods import LORA, METHODS, VARIANTS, WAYS
from burnish.proof.ranks import apart, second_process
from burnish.proof.subject import Subject
from burnish.train.parallel import Kind

KINDS: tuple[Kind, ...] = ("ddp", "fsdp")


TRIED: list[tuple[str, str, Kind]] = [
    *((method, way, kind) for method in METHODS for way in WAYS for kind in KINDS),
    *((variant, LORA, "fsdp") for variant in VARIANTS),
]


def test_every_method_makes_the_same_step_on_two_ranks(subject: Subject) -> None:
    with second_process():
        found = {
            (method, way, kind, what): value
            for method, way, kind in TRIED
            for what, value in apart(subject.trial(method, way), method, kind).items()
        }
    assert len(found) == 2 * len(TRIED)
    assert {name: value for name, value in found.items() if not value <= STEP[name[-1]]} == {}
