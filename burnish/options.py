"""Options that verbs of several modules share. Knows how they are written; nothing of what they are for."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
