"""A user's Python function as a reward: `f(prompts, completions, **columns)`, one number or None an answer, as TRL has
it. Knows no recipe.

The file is the user's own and runs with all of the user's rights, in our process and without a limit of time: whoever
names it in a recipe trusts it as they trust the recipe. Nothing else is searched for or imported from where it lies.
A change of the working directory lasts until the file is imported, or the function returns.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, Problem, Terminated, nearest
from burnish.rewards.checked import rated
from burnish.types import Completion, Message, Prompt, Rated

GIVEN = ("prompts", "completions", "completion_ids")
"""What every function may ask for beside the columns: each prompt, each answer, and its token ids, of which a server's
answers have none. As TRL has it, prompts and answers are texts where the rows' prompts are; otherwise a prompt is its
turns and an answer a list of one turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionReward:
    """A function that is asked about all answers at once."""

    call: Callable[..., Any]
    file: Path
    name: str
    """Of its part."""
    texts: bool = False
    """Whether it is given texts instead of turns."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        """Raises ConfigError for what the function raises, and for anything but one finite number (or None) each."""
        given = _columns(prompts) | {
            "prompts": [self._turns(prompt.messages) for prompt in prompts],
            "completions": [self._turns([Message(role="assistant", content=each.text)]) for each in completions],
            "completion_ids": [list(each.ids) for each in completions],
        }
        given_as = "texts, since the prompts are texts" if self.texts else "lists of turns, since prompts are turns"
        with _told(self.file, f": {self.name}", "raised", f"Mind that completions are {given_as}, as TRL gives them."):
            wanted = inspect.signature(self.call).parameters.values()
            if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in wanted):
                given = {each.name: given[each.name] for each in wanted if each.name in given}
            return rated(self.name, self._numbers(self.call(**given), prompts))

    def _turns(self, messages: Sequence[Message]) -> str | list[dict[str, str]]:
        return messages[-1].content if self.texts else [message.as_json() for message in messages]

    def _numbers(self, said: Any, prompts: Sequence[Prompt]) -> list[float | None]:
        said = said.tolist() if hasattr(said, "tolist") else said
        where = f"{self.file}: {self.name}"
        if not isinstance(said, list | tuple):
            raise ConfigError(Problem(where, f"gave {type(said).__name__}; a list of numbers is wanted"))
        if len(said) != len(prompts):
            mend = "Return one for each completion, in their order; None where it has nothing to say."
            raise ConfigError(Problem(where, f"gave {len(said)} numbers for {len(prompts)} answers", mend))
        return [self._number(each, prompt) for each, prompt in zip(said, prompts, strict=True)]

    def _number(self, value: Any, prompt: Prompt) -> float | None:
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            found = f"gave {value!r} for an answer to {prompt.id}; a finite number or None is wanted"
            raise ConfigError(Problem(f"{self.file}: {self.name}", found))
        return number


def load_function(file: Path, function: str) -> Callable[..., Any]:
    """The function of that name in a file, which is run once. Raises ConfigError."""
    required_columns(file, function)
    path = file.absolute()
    named = f"burnish_user_{path.stem}"
    spec = spec_from_file_location(named, path)
    if spec is None or spec.loader is None:
        raise ConfigError(Problem(str(file), "is no Python file", "Name it with .py at the end."))
    module = module_from_spec(spec)
    sys.modules[named] = module  # dataclasses of the file look themselves up there
    with _told(file, "", "importing it raised"):
        spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise ConfigError(Problem(str(file), f'"{function}" is no function'))
    return found


def required_columns(file: Path, function: str) -> tuple[str, ...]:
    """The columns that a function cannot be called without, read from the file without running it.

    Raises ConfigError for a file that is no Python, or that has no such name. Of what is imported into the file nothing
    is known before it runs: it requires no column.
    """
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(Problem(str(file), f"cannot be read ({error})")) from error
    except SyntaxError as error:
        place = [str(each) for each in (file, error.lineno, error.offset) if each is not None]  # a NUL has none
        raise ConfigError(Problem(":".join(place), f"no Python ({error.msg})")) from error
    names = {name: node for node in tree.body for name in _defined(node)}
    if function not in names:
        known = [name for name, node in names.items() if isinstance(node, ast.FunctionDef)]
        mend = nearest(function, known) if known else "Define it at the top of the file."
        raise ConfigError(Problem(str(file), f'there is no function "{function}"', mend))
    node = names[function]
    return tuple(_required(node.args)) if isinstance(node, ast.FunctionDef) else ()


@contextmanager
def _told(file: Path, name: str, did: str, mend: str = "") -> Generator[None]:
    """A user's code raises what it likes, a process's end too: it is told with the last line of the file that it came
    through. Only an end from outside is one. Where it goes in the file system it goes alone: our paths may be relative.
    """
    try:
        with chdir("."):  # and back
            yield
    except (ConfigError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(file.absolute())]
        place = f"{file}:{lines[-1]}" if lines else str(file)
        raise ConfigError(Problem(f"{place}{name}", f"{did} {type(error).__name__}: {error}", mend)) from error


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case _:
            return []


def _required(arguments: ast.arguments) -> list[str]:
    positional = arguments.posonlyargs + arguments.args
    without = positional[: len(positional) - len(arguments.defaults)]
    without += [each for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value is None]
    return [each.arg for each in without if each.arg not in GIVEN]


def _columns(prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
    """Every column that any of the rows has; None where a row lacks it."""
    names = {name: None for prompt in prompts for name in prompt.meta}
    return {name: [prompt.meta.get(name) for prompt in prompts] for name in names}
