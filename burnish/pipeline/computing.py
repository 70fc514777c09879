"""On which device, in which numbers and by whose kernels a stage computes: settled when it begins, and the same when it
is continued.

`auto` is an answer of the machine, and a machine may answer otherwise another time. So what it said lies in the stage's
folder, and a stage that was begun goes by that. What the recipe names wins over both.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from burnish.models.arithmetic import chosen_kernels, device, settle
from burnish.models.load import pick_dtype
from burnish.pipeline.stage import Context
from burnish.records.durable import write_json

FILE = "computing.json"


def settled(context: Context) -> Context:
    """The context with a recipe that has no `auto` left; torch computes that way from now on. Raises MachineError where
    the stage began on a GPU, or is to use one, and there is none, and what `burnish.models.arithmetic.choose` raises of
    kernels."""
    path = context.folder / FILE
    before: dict[str, str] = json.loads(path.read_bytes()) if path.is_file() else {}
    asked = {name: getattr(context.recipe, name) for name in ("device", "dtype", "kernels")}
    wanted: dict[str, Any] = {
        name: before.get(name, value) if value == "auto" else value for name, value in asked.items()
    }
    settle(wanted["device"], wanted["kernels"])
    found = {
        "device": device().type,
        "dtype": str(pick_dtype(wanted["dtype"])).removeprefix("torch."),
        "kernels": chosen_kernels(),
    }
    if found != before:
        write_json(path, found)
    return replace(context, recipe=context.recipe.model_copy(update=found))
