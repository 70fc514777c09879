"""Processes that do what `burnish` does, can end themselves as `kill -9` would, and write down what they seal.

Python's audit hook tells of every file that is opened, renamed or removed: nothing of burnish is patched. Each process
is a fork of this one, which has imported all that the stages need and done nothing: a kill then costs no start, and a
moment of a stage lies in its work, not in the loading of libraries. Its clock is the processor's, which other
processes do not stretch.

Each line of the input is a JSON list [log, run, stage, when, amount, command line]. A process that is to die does so in
`stage`: `amount` seconds after that has begun (when: "moment"), or at the event of that number among those in the
middle of a save ("save"); where the stage ends before, while its record is written. The log gets a line of JSON for
each checkpoint that takes its name, for each stage that is recorded, and for the death. The answer is an exit code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from burnish.__main__ import main
from burnish.pipeline.recipe import STAGES
from burnish.records.durable import ASIDE, MANIFEST

OTHERWISE_NAMED = {"gate": "gate_stage", "release": "release_stage"}
IMPORTED = (
    *(f"burnish.pipeline.{OTHERWISE_NAMED.get(stage, stage)}" for stage in STAGES),
    "transformers.models.llama.modeling_llama",
)
SEEN = ("open", "os.mkdir", "os.rename", "os.remove")


class Watcher:
    """Sees files, counts the events of a stage that lie in the middle of a save, and ends the process."""

    def __init__(self, log: str, run: str, stage: str, when: str, amount: float) -> None:
        self._log, self._run = log, run + os.sep
        self._doomed, self._when, self._amount = stage, when, amount
        self._stage, self._began, self._saves = "", 0.0, 0

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in SEEN or not isinstance(given[0], str | Path) or not str(given[0]).startswith(self._run):
            return
        path = Path(given[0]).relative_to(self._run)
        if event == "os.remove" and _recorded(path):  # what a stage does first
            self._begin(_recorded(path))
        elif any(part.startswith(ASIDE) for part in path.parts):
            name = Path(given[1]).relative_to(self._run) if event == "os.rename" else path
            if name.parent.name == "checkpoints" and name is not path:
                self._sealed(path, name)
            if self._stage and self._stage in (name.parts[0].removeprefix(ASIDE), _recorded(name)):
                self._saving(_recorded(name) == self._stage)

    def _begin(self, stage: str) -> None:
        self._stage, self._began, self._saves = stage, time.process_time(), 0
        if (stage, "moment") == (self._doomed, self._when):
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while time.process_time() < self._began + self._amount:
            time.sleep(0.0005)
        self._die("moment")

    def _sealed(self, aside: Path, name: Path) -> None:
        """A checkpoint takes its name: the digests of all that is in it."""
        files = json.loads(Path(self._run, aside, MANIFEST).read_bytes())["files"]
        self._say(checkpoint=str(name), files=files)

    def _saving(self, record: bool) -> None:
        self._saves += 1
        if record:
            self._say(stage=self._stage, moment=time.process_time() - self._began, save=self._saves)
        if self._stage == self._doomed and (record or (self._when == "save" and self._saves >= self._amount)):
            self._die("record" if record else "save")

    def _die(self, when: str) -> None:
        self._say(died=self._stage, when=when)
        os.kill(os.getpid(), signal.SIGKILL)

    def _say(self, **values: Any) -> None:
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(json.dumps(values) + "\n")


def _recorded(path: Path) -> str:
    """The stage whose record this is; "" for other files. That of a sealed stage lies beside its folder."""
    if path.name == "stage.json":
        return path.parts[0]
    return path.stem if len(path.parts) == 1 and path.stem in STAGES else ""


def live(log: str, run: str, stage: str, when: str, amount: float, arguments: list[str]) -> NoReturn:
    """What a process is for. What it says stands beside the log."""
    said = os.open(f"{log}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.argv = ["burnish", *arguments]
    sys.addaudithook(Watcher(log, run, stage, when, amount))
    main()


if __name__ == "__main__":
    for module in IMPORTED:
        import_module(module)
    for line in sys.stdin:
        if not (child := os.fork()):
            live(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
