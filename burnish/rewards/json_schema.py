"""JSON held against a schema. Imported only where a recipe asks for it, and only in a process that can be stopped: a
schema may hold a regular expression without an end. References that lead out of the file are not followed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from burnish.errors import DataError, Problem


def load_schema(path: Path) -> Any:
    """The schema in a file. Raises DataError where there is none."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(Problem(str(path), f"cannot be read ({error})")) from error
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"{path}:{error.lineno}:{error.colno}", f"no JSON ({error.msg})")) from error
    except SchemaError as error:
        raise DataError(Problem(f"{path}: {error.json_path}", f"no JSON schema ({error.message})")) from error
    return schema


def validator(path: Path | None) -> Callable[[str], bool]:
    """Whether a text is JSON as the schema has it; without one, whether it is JSON at all."""
    schema = True if path is None else load_schema(path)
    against = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())

    def valid(text: str) -> bool:
        try:
            return against.is_valid(json.loads(text, parse_constant=_refused))
        except (ValueError, ArithmeticError, RecursionError):  # ArithmeticError: a number too large to be a multiple
            return False
        except Unresolvable as error:
            found = f"a reference that leads nowhere in it ({error})"
            raise DataError(Problem(str(path), found, "Write what it means into the file.")) from error

    return valid


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
