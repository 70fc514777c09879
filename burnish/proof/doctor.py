"""`burnish doctor`: the laws on a user's model and data, and which tokens of theirs are learned. Knows the list of laws
and how findings read; the command line prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from burnish.batches import Document
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import plain
from burnish.models.arithmetic import chosen_kernels
from burnish.models.forward import Layout
from burnish.models.sources import resolve
from burnish.proof.law import Finding, Law
from burnish.proof.laws import LAWS
from burnish.proof.material import read_rows
from burnish.proof.subject import Subject
from burnish.release.clauses import duration
from burnish.types import Progress

LAYOUTS = {
    Layout.TREE: "packed trees",
    Layout.ROWS: "one sequence at a time: this architecture does not take packed trees",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a document teaches."""

    row: str
    tokens: int
    learned: int
    pieces: Sequence[tuple[str, bool]] = ()
    """Its text, cut where learning begins or ends; for a conversation only."""

    def as_json(self) -> dict[str, Any]:
        shown = [{"text": text, "learned": learned} for text, learned in self.pieces]
        return {"row": self.row, "tokens": self.tokens, "learned": self.learned, "pieces": shown}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found."""

    model: str
    layout: Layout
    findings: Sequence[Finding]
    kernels: str = "torch"
    """By which it was computed."""
    skipped: Sequence[str]
    """Names of laws that have nothing to say of this model."""
    lessons: Sequence[Lesson]
    """Of the documents that the laws were tried on."""
    rows: int
    """How many were looked at."""
    longest: int
    """Tokens of the longest document that they make."""
    lengthened: int = 0
    """Tokens by which one document of each kind was made longer, to stand past the longest window that was reached."""
    unreached: Sequence[int] = ()
    """Windows of the model's layers that no document stands past."""

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "layout": self.layout.value,
            "kernels": self.kernels,
            "passed": self.passed,
            "laws": [finding.as_json() for finding in self.findings],
            "skipped": list(self.skipped),
            "rows": self.rows,
            "longest": self.longest,
            "lengthened": self.lengthened,
            "unreached": list(self.unreached),
            "examples": [lesson.as_json() for lesson in self.lessons],
        }


def examine(model: str, base: Path, data: Path | None, progress: Progress, laws: Sequence[Law] = LAWS) -> Diagnosis:
    """Try every law on a model. `base` is what relative paths of models are relative to; without `data` the documents
    are our own.

    Raises: DataError for data that hold no two usable rows, ModelError for no model, MachineError for one that cannot
    be fetched, TrainingError where a loss is not finite.
    """
    rows = read_rows(data)
    subject = Subject(resolve(model, base, progress), rows, progress)
    fitting = [law for law in laws if law.fits(subject)]
    findings: list[Finding] = []
    progress.start("laws", len(fitting))
    for law in fitting:
        progress.advance(0, law.name)
        findings += law.tried(subject)
        progress.advance(1)
    progress.finish()
    documents = [*subject.material.conversations, *subject.material.trees]
    return Diagnosis(
        model=model,
        layout=subject.layout,
        kernels=chosen_kernels(),
        findings=findings,
        skipped=[law.name for law in laws if law not in fitting],
        lessons=[_lesson(document, subject.tokenizer) for document in documents],
        rows=subject.material.rows,
        longest=subject.material.longest,
        lengthened=subject.material.lengthened,
        unreached=subject.material.unreached,
    )


def as_text(found: Diagnosis, mark: Callable[[str], str], out: Path | None) -> str:
    """The table, an example with its learned tokens marked, and what to do next."""
    width = max(len(finding.name) for finding in found.findings)
    by = "" if found.kernels == "torch" else f", by {found.kernels} kernels"
    lines = [f"{found.model}: {LAYOUTS[found.layout]}{by}", _tried(found), ""]
    lines.append(f"{'law':<{width}}  {'measured':>9}  {'tolerance':>9}")
    lines += [_row(finding, width) for finding in found.findings]
    lines += [f"not tried, having nothing to say of this model: {', '.join(found.skipped)}"] if found.skipped else []
    lines += ["", *_taught(found.lessons, mark), ""]
    lines += [f"{each.name}: {each.says} (Tolerance: {each.because}.)" for each in found.findings if not each.passed]
    return "\n".join([*lines, _farewell(found, out)])


def _tried(found: Diagnosis) -> str:
    """Which documents, and what was left out."""
    tokens = [lesson.tokens for lesson in found.lessons]
    said = [f"tried on the shortest documents of {found.rows} rows, {min(tokens):,} to {max(tokens):,} tokens"]
    if found.lengthened:
        said.append(f"one of each kind was made longer by {found.lengthened:,}, to stand past the model's window")
    if found.longest > max(tokens):
        said.append(f"the longest, {found.longest:,} tokens, was not tried")
    said += [f"the window of {window:,} tokens was not reached" for window in found.unreached]
    return "; ".join(said)


def _row(finding: Finding, width: int) -> str:
    verdict = "pass" if finding.passed else "FAIL"
    note = f"  {finding.note}" if finding.note else ""
    return f"{finding.name:<{width}}  {finding.measured:>9.2g}  {finding.tolerance:>9.2g}  {verdict}{note}"


def _taught(lessons: Sequence[Lesson], mark: Callable[[str], str]) -> list[str]:
    first = lessons[0]
    text = "".join(mark(_safe(text)) if learned else _safe(text) for text, learned in first.pieces)
    counts = [f"  {plain(each.row, 40)}: {each.learned} of {each.tokens} tokens" for each in lessons]
    return [f"{mark('Learned')} of {plain(first.row, 40)}:", *(f"  {line}" for line in text.split("\n")), *counts]


def _safe(text: str) -> str:
    """Line breaks stay; what else controls a terminal does not."""
    return "\n".join(plain(line, 10_000) for line in text.split("\n"))


def _farewell(found: Diagnosis, out: Path | None) -> str:
    seconds = sum(finding.seconds for finding in found.findings)
    failed = sum(not finding.passed for finding in found.findings)
    kept = f"All of it is in {out}." if out else "Keep this with --out FILE."
    if failed:
        return f"{failed} of {len(found.findings)} fail: do not train this model before you know why. {kept}"
    return f"All {len(found.findings)} pass, in {duration(seconds)}. {kept} Next: burnish run RECIPE"


def _lesson(document: Document, tokenizer: Tokenizer) -> Lesson:
    pieces: list[tuple[str, bool]] = []
    if document.weights is not None:
        runs = groupby(zip(document.ids, document.weights, strict=True), key=lambda pair: pair[1] > 0)
        pieces = [(tokenizer.shown([token for token, _ in run]), learned) for learned, run in runs]
    return Lesson(row=document.row, tokens=document.tokens, learned=document.targets, pieces=pieces)
