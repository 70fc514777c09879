"""One `burnish run` as people and programs see it: the plan, a line for each stage, the report, the verdict."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, InconclusiveError, VerdictError, out_of_memory
from burnish.pipeline import run_folder
from burnish.pipeline.graph import Step, execute
from burnish.pipeline.recipe import POLICIES, Recipe
from burnish.pipeline.report import write_report
from burnish.release.clauses import clauses, duration
from burnish.terminal import fail, progress, say, shown

KEPT = "what is done is kept, and the same command continues"
MENDED = f"{KEPT} when that is mended"
SHORT = "what is done is kept; with other settings this stage begins anew, and those before it stand"
TALKS = "Talk to it: burnish chat"
VERDICTS = {"pass": 0, "fail": VerdictError.exit_code, "inconclusive": InconclusiveError.exit_code}


@dataclass(slots=True, kw_only=True)
class Narrator:
    """Does the stages of a run and tells of them."""

    recipe: Recipe
    base: Path
    folder: Path
    as_json: bool
    steps: list[Step] = field(default_factory=list[Step])

    def work(self, left: list[str], until: str | None) -> int:
        """Do the stages that are left. Returns the exit code."""
        began = time.monotonic()
        self._plan(left, until)
        try:
            self._stages(until)
        except (VerdictError, InconclusiveError) as error:
            return fail(error, f"the reasons are in {self._report()}, and what is done is kept", self.as_json)
        except BurnishError as error:
            return fail(error, MENDED if error.exit_code == 2 else KEPT, self.as_json)
        except (MemoryError, OSError, RuntimeError) as error:  # too little memory is any of these, by its words alone
            short = out_of_memory(error)
            if short is None:
                raise
            return fail(short, SHORT, self.as_json)
        report = self._report()
        code = self._verdict()
        self._finish(code, report, time.monotonic() - began)
        return code

    def _plan(self, left: list[str], until: str | None) -> None:
        stages = self.recipe.stages()
        stages = stages if until is None else stages[: stages.index(until) + 1]
        done = len(stages) - len(left)
        state = "all done" if not left else f"{done} done, next is {left[0]}" if done else "none done yet"
        self._tell(f"{self.recipe.name}: {len(stages)} stages ({' → '.join(stages)}) in {self.folder}; {state}")

    def _stages(self, until: str | None) -> None:
        meter = progress()
        patient = sys.stdin.isatty() and sys.stderr.isatty()
        for step in execute(self.recipe, self.base, self.folder, meter, until=until, patient=patient):
            meter.clear()
            self.steps.append(step)
            found = ", ".join(clauses(step.record.stage, step.record.facts))
            spent = duration(step.record.seconds) if step.ran else "done before"
            self._tell(f"  {step.record.stage:<9} {spent:>11}  {found}".rstrip())

    def _report(self) -> Path:
        """The run's report, written again where something has changed."""
        path = self.folder / run_folder.REPORT
        changed = any(step.ran or step.taken_back for step in self.steps)
        return write_report(self.folder) if changed or not path.is_file() else path

    def _verdict(self) -> int:
        """0 where no gate spoke, it said yes, or its doubt was accepted and a release is there."""
        facts = {step.record.stage: step.record.facts for step in self.steps}
        return 0 if "release" in facts else VERDICTS.get(str(facts.get("gate", {}).get("verdict", "pass")), 0)

    def _finish(self, code: int, report: Path, seconds: float) -> None:
        stages = {step.record.stage: {"ran": step.ran, **step.record.as_json()} for step in self.steps}
        value: dict[str, Any] = {
            "run": str(self.folder),
            "exit_code": code,
            "report": str(report),
            "release": str(self.folder / "release") if "release" in stages else None,
            "stages": stages,
        }
        say(shown(value, "\n".join(self._farewell(code, report, seconds)), self.as_json))

    def _farewell(self, code: int, report: Path, seconds: float) -> list[str]:
        names = [step.record.stage for step in self.steps]
        ran = any(step.ran for step in self.steps)
        lines = [f"Done in {duration(seconds)}." if ran else "Nothing was left to do."]
        lines.append(f"Report:  {report}")
        if code:
            lines.append(f"The gate did not say yes (exit {code}): its reasons are in the report.")
        elif "release" in names:
            lines += [f"Release: {self.folder / 'release'}", f"{TALKS} {self.folder / 'release'}"]
        elif made := [name for name in names if (self.folder / name / "model").is_dir()]:
            model = self.folder / made[-1] / "model"
            lines += [f"Model:   {model}", *([f"{TALKS} {model}"] if made[-1] in POLICIES else [])]
        return lines

    def _tell(self, line: str) -> None:
        """To people at once; programs get all at the end."""
        say(line, sys.stderr if self.as_json else sys.stdout)
