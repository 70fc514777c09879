"""The one list of laws: what `burnish doctor` tries on a user's model, and the tests on small ones. A new law is an
entry here and a measure in a file beside this one; a new method is an entry in `methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from burnish.proof import adapters, batching, heads, memory, ranks, references, sampling, storage
from burnish.proof.law import Law, Measured
from burnish.proof.methods import ALL, FULL, LORA, METHODS, WAYS
from burnish.proof.subject import Subject, Trial

STEP = {"loss": 1e-5, "gradient": 1e-4}
ROUNDING = "fp32 sums taken in another order; relative, the gradient by its L2 length"
BITS = {"": 0.0}
SAME_BITS = "nothing is computed in another order, so not one bit may differ"


def _laws() -> Iterator[Law]:
    for way in WAYS:
        for method in METHODS:
            yield from _of_method(method, way)
        yield _of_resuming(way)
    yield from _of_batches()
    yield from _of_ranks()
    yield from _of_memory()
    yield from _of_heads()
    yield from _of_references()
    yield from _of_adapters()
    yield from _of_answers()
    yield Law(
        name="saved = loaded",
        says="A model that was trained, saved and loaded again has the same weights and the same outputs.",
        measure=storage.saved,
        tolerances=BITS,
        because=SAME_BITS,
    )


def _of_method(method: str, way: str) -> Iterator[Law]:
    named = method if way == FULL else f"{method}, {way}"
    yield Law(
        name=f"{named}: packed = alone",
        says="Documents that share a pack make the step that each of them makes alone, without any packing.",
        measure=_on(batching.packed, method, way),
        tolerances=STEP,
        because=ROUNDING,
        adapters_only=way == LORA,
    )
    if ALL[method].trees:
        yield Law(
            name=f"{named}: shared prompt = K sequences",
            says="A prompt with K answers as its branches makes the step of K sequences, prompt and answer each.",
            measure=_on(batching.prefix_shared, method, way),
            tolerances=STEP,
            because=ROUNDING,
            adapters_only=way == LORA,
        )
    yield Law(
        name=f"{named}: micro-batches = big batch",
        says="How a step is split, in which order its documents come, and whether all come twice changes nothing.",
        measure=_on(batching.micro_batches, method, way),
        tolerances=STEP,
        because=ROUNDING,
        adapters_only=way == LORA,
    )


def _of_resuming(way: str) -> Law:
    """By fine-tuning, whose dropout is on: loop, optimiser and checkpoint are the same for all methods, and the law is
    dear on a large model, being the one that writes a checkpoint."""
    named = "" if way == FULL else f"{way}: "
    return Law(
        name=f"{named}resumed = uninterrupted",
        says="A run that was cut and continued from its checkpoint ends with the same weights and optimiser.",
        measure=lambda subject: storage.resumed(subject, "sft", way),
        tolerances=BITS,
        because=SAME_BITS,
        adapters_only=way == LORA,
    )


def _of_batches() -> Iterator[Law]:
    yield Law(
        name="other documents do not move",
        says="A changed token of one packed document leaves every logit of the others as it was.",
        measure=batching.changed_token,
        tolerances=BITS,
        because=SAME_BITS,
    )
    yield Law(
        name="other answers do not move",
        says="A changed token of one answer leaves every logit of the prompt and of its other answers as it was.",
        measure=batching.changed_answer,
        tolerances=BITS,
        because=SAME_BITS,
    )
    yield Law(
        name="tree attention = dense attention",
        says="Attention over the packed tree gives the hidden states of one dense mask over the whole pack.",
        measure=batching.dense,
        tolerances={"": 1e-4},
        because="another kernel's rounding in fp32, carried through all layers; relative L2",
        trees_only=True,
    )
    yield Law(
        name="each token passes once",
        says="Every prompt and every answer of a K-wise item goes through the model exactly once.",
        measure=batching.forwarded_once,
        tolerances=BITS,
        because="tokens are counted",
        trees_only=True,
    )


def _of_ranks() -> Iterator[Law]:
    """By fine-tuning, as resuming is: `tests/laws/test_two_ranks.py` has all methods."""
    yield Law(
        name="two ranks = one",
        says="Two processes that share a step's micro-batches make the step of one.",
        measure=lambda subject: ranks.two(subject, "ddp"),
        tolerances=STEP,
        because=ROUNDING,
    )
    yield Law(
        name="two ranks with half the weights each = one",
        says="Two processes that share a step's micro-batches and the weights (fsdp) make the step of one.",
        measure=lambda subject: ranks.two(subject, "fsdp"),
        tolerances=STEP,
        because=ROUNDING,
        trees_only=True,
    )


def _of_memory() -> Iterator[Law]:
    yield Law(
        name="logits in chunks = at once",
        says="How many rows of logits exist at a time changes neither loss nor gradient.",
        measure=_on(memory.chunks, "sft", FULL),
        tolerances=STEP,
        because=ROUNDING,
    )
    yield Law(
        name="layers computed again = kept",
        says="What layers keep for the backward pass, or compute again in it (gradient_checkpointing), is the same.",
        measure=_on(memory.computed_again, "sft", FULL),
        tolerances={"loss": 0.0, "gradient": 0.0},
        because=SAME_BITS,
    )


def _of_heads() -> Iterator[Law]:
    yield Law(
        name="zeroed LM head: ln V",
        says="A model that finds all V tokens equally likely has a loss of ln V.",
        measure=heads.zeroed_lm,
        tolerances={"": 1e-5},
        because="ln V is about 10, of which fp32 has seven digits",
    )
    yield Law(
        name="zeroed score head: ln 2",
        says="A reward model that finds all answers equally good has a loss of ln 2 at step 0.",
        measure=heads.zeroed_score,
        tolerances={"": 1e-6},
        because="ln 2 in fp32",
    )


def _of_references() -> Iterator[Law]:
    yield Law(
        name="dpo at its reference: ln 2",
        says="Before DPO's first update policy and reference say the same, and its loss is ln 2.",
        measure=references.untrained,
        tolerances={"": 1e-6},
        because="ln 2 in fp32",
    )
    yield Law(
        name="kept reference = live",
        says="What a reference was once heard to say, read from the disk, is what it says now.",
        measure=references.kept,
        tolerances=BITS,
        because=SAME_BITS,
    )


def _of_adapters() -> Iterator[Law]:
    yield Law(
        name="adapter off = base",
        says="A backbone whose adapter is switched off gives the hidden states that it gave before it had one.",
        measure=adapters.switched_off,
        tolerances=BITS,
        because=SAME_BITS,
        adapters_only=True,
    )
    yield Law(
        name="merged = adapter",
        says="Weights with the adapter added to them give the hidden states of weights and adapter.",
        measure=adapters.merged,
        tolerances={"": 1e-4},
        because="fp32 sums taken in another order, carried through all layers; relative L2",
        adapters_only=True,
    )


def _of_answers() -> Iterator[Law]:
    yield Law(
        name="sampler = scorer, fp32",
        says="The log-probabilities that the sampler states are those that the scorer finds, in nats.",
        measure=sampling.largest,
        tolerances={"": sampling.OFF},
        because="fp32 logits of other kernels; the largest difference of a token. Where the scores of two experts lie "
        "within a share of 1e-5, either is right",
    )
    yield Law(
        name="sampler = scorer, bf16",
        says="The same with weights in bfloat16, as rollouts use them.",
        measure=sampling.mean,
        tolerances={"": 0.1},
        because="logits from 16 to 32 are 0.125 apart in bfloat16; the mean difference of a token",
    )
    yield Law(
        name="policy = its own reference",
        says="Before PPO's first update its KL from the reference is 0, and every probability ratio is 1.",
        measure=sampling.same_policy,
        tolerances={"KL": 0.0, "ratio": 0.0},
        because=SAME_BITS,
    )
    yield Law(
        name="greedy alone = in company",
        says="A greedy answer is the same whatever else is answered at the time.",
        measure=sampling.greedy,
        tolerances=BITS,
        because="answers are counted; where two logits lie within 1e-4, either is right",
    )


def _on(measure: Callable[[Trial], Measured], method: str, way: str) -> Callable[[Subject], Measured]:
    return lambda subject: measure(subject.trial(method, way))


LAWS: tuple[Law, ...] = tuple(_laws())
