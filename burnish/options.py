"""Options that verbs share. Knows how they are written; nothing of what they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from burnish.errors import ConfigError, Problem
from burnish.types import KernelName

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a setting; repeatable.")]
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, for example recipes/support.yaml.")]
Model = Annotated[str, typer.Option(help="A model folder, a GGUF file, a Hub id or smollm2-135m.")]
SPEAKS = "A release, a model folder, a GGUF file, a Hub id, smollm2-135m, or a server: http://HOST:PORT/v1#NAME."
Speaks = Annotated[str, typer.Argument(metavar="MODEL", help=SPEAKS)]
ByKernels = Annotated[KernelName, typer.Option("--kernels", help="As in a recipe; auto: torch.")]
Data = Annotated[Path, typer.Option(help="A JSONL file.")]
Out = Annotated[Path, typer.Option(help="The run folder.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, for example runs/demo.")]
Prompts = Annotated[Path, typer.Option(help="A JSONL file of prompts.")]
COLUMN = "Where the prompts stand, if not under a usual name: for example question."
Column = Annotated[str | None, typer.Option("--prompt-column", help=COLUMN)]
Answers = Annotated[int, typer.Option("--n", min=1, help="Answers a prompt.")]
Warmth = Annotated[float, typer.Option(min=0.0, help="0 is greedy.")]
Budget = Annotated[int, typer.Option(min=1, help="Tokens at which an answer is cut.")]
HERE = "preferences.db"
PLACE = "A run folder, a preference database, or its URL."
Db = Annotated[str, typer.Option("--db", metavar="RUN|DB", help=PLACE)]
Campaign = Annotated[str, typer.Argument(metavar="NAME", help="The campaign's name or key.")]


def writable(out: Path | None, usual: str) -> None:
    """Whether what is found can be written to a file of that name: said before it is looked for. ConfigError if not."""
    if out is not None and out.is_dir():
        raise ConfigError(Problem(f"--out {out}", "a folder; a file is wanted", f"Try --out {out / usual}"))
