"""What came of a comparison, as JSON and as a table. Knows figures; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from burnish.proof.bench.turns import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The timed steps of one side, and all that it used."""

    steps: Sequence[Step]
    peak_mb: float
    setting: str = ""
    tried: Mapping[str, float | None]
    """Useful tokens a second of every setting in its trial; None where the system ended it."""

    @property
    def rates(self) -> list[float]:
        """Useful tokens a second, a timed step each."""
        return [step.rate for step in self.steps]

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def loss(self) -> float | None:
        """Mean loss of the last step."""
        return self.steps[-1].loss

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of each part of a step; medians."""
        return {name: median(step.phases[name] for step in self.steps) for name in self.steps[0].phases}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of work. Sides made their steps in turn, so the ratio is that of each pair of steps."""

    work: str
    says: str
    ours: Run
    peers: Mapping[str, Run]
    """By name; the first is the peer, others stand beside it under their names."""
    floor_shares: Sequence[float]
    """Floor over measured seconds of each timed step of ours."""
    machine: Mapping[str, float]
    step: Mapping[str, float]
    kernels: str = "torch"
    """By which ours computed."""

    @property
    def peer(self) -> Run | None:
        return next(iter(self.peers.values()), None)

    @property
    def others(self) -> dict[str, Run]:
        return dict(list(self.peers.items())[1:])

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "work": self.work,
            "ours": round(self.ours.rate, 1),
            "peer": round(self.peer.rate, 1) if self.peer else None,
            "ratio": round(median(ratios(self.ours, self.peer)), 2) if self.peer else None,
            "floor_share": round(median(self.floor_shares), 3),
            "peak_mb": round(self.ours.peak_mb),
            "kernels": self.kernels,
            "seconds": round(median(step.seconds for step in self.ours.steps), 3),
            "phases": {name: round(seconds, 3) for name, seconds in self.ours.phases.items()},
            "ours_loss": _loss(self.ours),
            "ours_each": [round(each, 1) for each in self.ours.rates],
            "floor_shares": [round(each, 3) for each in self.floor_shares],
            **self.machine,
            **self.step,
        }
        if self.peer:
            found |= {
                "peer_name": next(iter(self.peers)),
                "ratios": [round(each, 2) for each in ratios(self.ours, self.peer)],
                "peer_each": [round(each, 1) for each in self.peer.rates],
                **_of(self.peer, "peer"),
                "peer_tried": _rates(self.peer),
            }
        for name, run in self.others.items():
            found |= {
                name: round(run.rate, 1),
                f"vs_{name}": round(median(ratios(self.ours, run)), 2),
                f"vs_{name}_each": [round(each, 2) for each in ratios(self.ours, run)],
                **_of(run, name),
                f"{name}_tried": _rates(run),
            }
        return found


def _of(run: Run, name: str) -> dict[str, Any]:
    return {f"{name}_setting": run.setting, f"{name}_loss": _loss(run), f"{name}_peak_mb": round(run.peak_mb)}


def _rates(run: Run) -> dict[str, float | None]:
    return {setting: None if rate is None else round(rate, 1) for setting, rate in run.tried.items()}


def _loss(run: Run) -> float | None:
    return None if run.loss is None else round(run.loss, 4)


def ratios(ours: Run, other: Run) -> list[float]:
    """Ours over theirs, a round each."""
    return [mine / theirs for mine, theirs in zip(ours.rates, other.rates, strict=True)]


def as_json(rows: Sequence[Row], model: str, data: str | None, max_length: int) -> dict[str, Any]:
    """What was asked, and the rows."""
    return {"model": model, "data": data, "max_length": max_length, "rows": [row.as_json() for row in rows]}


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
        "ours, peer: useful tokens a second, medians; rows as given, the prompt counted for each of its answers; where",
        "answers are sampled, theirs alone.",
        "ratio: median over rounds of ours to peer, side by side; spread: the lowest and the highest of them.",
        "of floor: the least time that this machine's matrix products and memory allow, over the time that ours took.",
        "loss: mean loss of the last step; of given rows, both made it of the same.",
    ]
    notes += [_against(row, name, run) for row in rows for name, run in row.others.items()]
    notes += [f"{row.says}: ours by {row.kernels} kernels" for row in rows if row.kernels != "torch"]
    notes += [_phases(row) for row in rows if row.ours.phases]
    return "\n".join([model, "", *(line.rstrip() for line in table), *notes])


def _cells(row: Row) -> tuple[str, ...]:
    peer = row.peer
    both = ratios(row.ours, peer) if peer else []
    return (
        row.says,
        f"{row.ours.rate:.0f}",
        f"{peer.rate:.0f}" if peer else "",
        f"{median(both):.2f}x" if both else "",
        f"{min(both):.2f}-{max(both):.2f}" if both else "",
        f"{median(row.floor_shares):.0%}",
        f"{row.ours.peak_mb:.0f}",
        f"{peer.peak_mb:.0f}" if peer else "",
        _said(row.ours.loss),
        _said(peer.loss if peer else None),
        f"{next(iter(row.peers))}: {peer.setting}" if peer else "",
    )


def _said(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.3f}"


def _aligned(text: str, width: int, place: int) -> str:
    return f"{text:<{width}}" if place in (0, len(HEADS) - 1) else f"{text:>{width}}"


def _against(row: Row, name: str, run: Run) -> str:
    found = ratios(row.ours, run)
    spread = f"{min(found):.2f}-{max(found):.2f}"
    return f"{row.says}, against {name} ({run.setting}): {median(found):.2f}x ({spread}) of {run.rate:.0f}"


def _phases(row: Row) -> str:
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row.ours.phases.items())
    return f"{row.says}, seconds of its parts: {parts}"
