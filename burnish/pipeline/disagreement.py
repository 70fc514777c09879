"""Where the members of a reward model disagree: what people's judgement would settle most.

A prompt is disputed by the mean, over all pairs of its answers, of how far the members' chances spread (Christiano et
al. 2017 choose their queries so). The `reward` stage of an ensemble writes it down for the rankings that it has;
`collect` asks for new answers in that order where a recipe names the model of an earlier run.
"""

from __future__ import annotations

from pathlib import Path

from burnish.pipeline.scored import Scored, dispute
from burnish.records.durable import write_jsonl

FILE = "disagreement.jsonl"


def write_disagreement(folder: Path, learned: Scored, heldout: Scored) -> None:
    """A line a ranking, the most disputed first. What was learned from is disputed less than it was before."""
    rows = [
        {"prompt_id": row.prompt.id, "held_out": side is heldout, "disagreement": round(dispute(said, side.stds), 6)}
        for side in (learned, heldout)
        for row, said in zip(side.side.rows, side.members, strict=True)
    ]
    write_jsonl(folder / FILE, sorted(rows, key=lambda row: (-row["disagreement"], row["prompt_id"])))


def most_disputed(asked: Scored) -> list[int]:
    """The places of the rows, the most disputed first; equals keep their order."""
    disputes = [dispute(said, asked.stds) for said in asked.members]
    return sorted(range(len(disputes)), key=lambda place: -disputes[place])
