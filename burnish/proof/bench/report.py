"""What came of a comparison, as JSON and as a table. Knows figures; runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from burnish.proof.bench.works import WORKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The timed steps of one side, and all that it used."""

    rates: Sequence[float]
    """Useful tokens a second, a timed step each."""
    losses: Sequence[float]
    """Mean loss of the same steps."""
    peak_mb: float
    setting: str = ""
    tried: dict[str, float]
    """Useful tokens a second of every setting in its trial."""

    @property
    def rate(self) -> float:
        return median(self.rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of work. Sides made their steps in turn, so the ratio is that of each pair of steps."""

    work: str
    ours: Run
    peer: Run | None
    trainer: Run | None
    floor_shares: Sequence[float]
    """Floor over measured seconds of each timed step of ours."""
    machine: dict[str, float]
    step: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "work": self.work,
            "ours": round(self.ours.rate, 1),
            "peer": round(self.peer.rate, 1) if self.peer else None,
            "ratio": round(median(ratios(self.ours, self.peer)), 2) if self.peer else None,
            "floor_share": round(median(self.floor_shares), 3),
            "peak_mb": round(self.ours.peak_mb),
            "ours_loss": round(self.ours.losses[-1], 4),
            "ours_each": [round(each, 1) for each in self.ours.rates],
            "floor_shares": [round(each, 3) for each in self.floor_shares],
            **self.machine,
            **self.step,
        }
        if self.peer:
            found |= {
                "ratios": [round(each, 2) for each in ratios(self.ours, self.peer)],
                "peer_each": [round(each, 1) for each in self.peer.rates],
                "peer_peak_mb": round(self.peer.peak_mb),
                "peer_loss": round(self.peer.losses[-1], 4),
                "peer_setting": self.peer.setting,
                "peer_tried": {name: round(rate, 1) for name, rate in self.peer.tried.items()},
            }
        if self.trainer:
            found |= {
                "trainer": round(self.trainer.rate, 1),
                "vs_trainer": round(median(ratios(self.ours, self.trainer)), 2),
                "vs_trainer_each": [round(each, 2) for each in ratios(self.ours, self.trainer)],
                "trainer_setting": self.trainer.setting,
                "trainer_loss": round(self.trainer.losses[-1], 4),
                "trainer_peak_mb": round(self.trainer.peak_mb),
            }
        return found


def ratios(ours: Run, other: Run) -> list[float]:
    """Ours over theirs, a round each."""
    return [mine / theirs for mine, theirs in zip(ours.rates, other.rates, strict=True)]


HEADS = ("work", "ours", "peer", "ratio", "spread", "of floor", "peak MB", "peer's", "loss", "peer's", "peer's setting")


def as_text(rows: Sequence[Row], model: str) -> str:
    """The table, and what its columns mean."""
    cells = [HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADS))]
    table = [
        "  ".join(_aligned(text, width, place) for place, (text, width) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    notes = [
        "",
        "ours, peer: useful tokens a second, medians; rows as given, the prompt counted for each of its answers.",
        "ratio: median over rounds of ours to peer, side by side; spread: the lowest and the highest of them.",
        "of floor: the least time that this machine's matrix products and memory allow, over the time that ours took.",
        "loss: mean loss of the last step, which both made of the same rows.",
    ]
    notes += [_against_trainer(row) for row in rows if row.trainer]
    return "\n".join([model, "", *(line.rstrip() for line in table), *notes])


def _cells(row: Row) -> tuple[str, ...]:
    peer = row.peer
    both = ratios(row.ours, peer) if peer else []
    return (
        WORKS[row.work].says,
        f"{row.ours.rate:.0f}",
        f"{peer.rate:.0f}" if peer else "",
        f"{median(both):.2f}x" if both else "",
        f"{min(both):.2f}-{max(both):.2f}" if both else "",
        f"{median(row.floor_shares):.0%}",
        f"{row.ours.peak_mb:.0f}",
        f"{peer.peak_mb:.0f}" if peer else "",
        f"{row.ours.losses[-1]:.3f}",
        f"{peer.losses[-1]:.3f}" if peer else "",
        peer.setting if peer else "",
    )


def _aligned(text: str, width: int, place: int) -> str:
    return f"{text:<{width}}" if place in (0, len(HEADS) - 1) else f"{text:>{width}}"


def _against_trainer(row: Row) -> str:
    assert row.trainer is not None
    found = ratios(row.ours, row.trainer)
    spread = f"{min(found):.2f}-{max(found):.2f}"
    return (
        f"{WORKS[row.work].says}, against transformers' own trainer ({row.trainer.setting}): "
        f"{median(found):.2f}x ({spread}) of {row.trainer.rate:.0f}"
    )
