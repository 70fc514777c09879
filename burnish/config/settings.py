"""Groups of settings (pydantic), checked as a whole. Knows no particular setting and no YAML.

Each of pydantic's complaints becomes a problem: where the value was written, the setting's full name, what stands there
and what should, and a mend.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from burnish.config.document import Document, Keys, override
from burnish.errors import ConfigError, Problem, nearest, plain

Model = TypeVar("Model", bound=BaseModel)

ALIKE = 0.8
"""How like a value must be to a known one to be taken for its misspelling: another word may be another algorithm."""
_ABSENT = re.compile(r"Absent: (.+?)(?:\.(?= [^a-z])|\.?$)|(\w+) \(absent\)")
_NUMBERS = {"float_type", "float_parsing", "int_type", "int_parsing"}


class Strict(BaseModel):
    """The base of every group of settings: unknown names are errors, values are frozen, NaN and infinity no numbers.

    The sentence under a field becomes its description in the JSON schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Names that other programs have for what is set here, and the mend for each."""
    values_elsewhere: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """Of a setting, words that other programs have for its values, in small letters, and the mend for each."""


def validate(model: type[Model], document: Document, overrides: Sequence[str] = ()) -> Model:
    """The settings that a document gives, after `a.b=value` overrides. Raises ConfigError with all problems.

    Types are those of JSON, strictly: a number in quotes is text, true is no number. A validator of the model finds the
    file's folder in `info.context["base"]`.
    """
    document = override(document, overrides)
    try:
        return model.model_validate_json(
            json.dumps(document.value), strict=True, context={"base": document.path.parent}
        )
    except ValidationError as error:
        found = [details for details in error.errors() if not _follows(details)]
        raise ConfigError(*[_problem(details, model, document) for details in found]) from None


def resolved(model: BaseModel) -> dict[str, Any]:
    """Every setting with its value, defaults included, as JSON values."""
    return model.model_dump(mode="json", by_alias=True)


def absences(model: BaseModel, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """(keys, what is in force) of each setting that is null, where its description says so: "Absent: 8." or
    "token (absent): ...". Items of lists are not looked into."""
    for name, field in type(model).model_fields.items():
        value, place = getattr(model, name), (*keys, field.alias or name)
        if value is None and (said := _ABSENT.search(" ".join((field.description or "").split()))):
            yield place, said[1] or said[2]
        if isinstance(value, BaseModel):
            yield from absences(value, place)


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a group of settings, for editors."""
    return model.model_json_schema()


def _follows(details: ErrorDetails) -> bool:
    """Whether an error only says what follows from another: a list's items, each told by itself, were left out of its
    count; or a default waits for a setting that is wrong."""
    if details["type"] == "default_factory_not_called":
        return True
    given, least = details["input"], details.get("ctx", {}).get("min_length", 0)
    return details["type"] == "too_short" and isinstance(given, list) and len(given) >= least


def _problem(details: ErrorDetails, model: type[BaseModel], document: Document) -> Problem:
    keys, kind = _written(details["loc"], document.value), details["type"]
    name = ".".join(map(str, keys))
    where = document.where(keys)
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return Problem(where, f'"{name}" is not a setting', _mend_name(model, keys))
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        missing = ".".join(map(str, details["loc"]))
        return Problem(where, f'"{missing}" is missing', f"Add: {details['loc'][-1]}: ...")
    if kind in ("value_error", "assertion_error"):
        said = details.get("ctx", {}).get("error", details["msg"])
        return Problem(where, f"{name}: {said}" if name else str(said))
    wanted = details["msg"].replace("Input should be", "it should be").rstrip(".")
    return Problem(where, f"{name} is {_shown(details['input'])}; {wanted}", _mend(details, model, keys))


def _mend_name(model: Any, keys: Keys) -> str:
    """For a name that is no setting: ours, where the section knows it, else the nearest of the section's."""
    known = list(_settings_at(model, keys[:-1]))
    told = (section.elsewhere.get(str(keys[-1])) for section in _sections(model, keys))
    return next(filter(None, told), None) or nearest(str(keys[-1]), known)


def _mend_value(value: str, known: list[str], model: Any, keys: Keys) -> str:
    """For a word that is no value of a setting: ours, where the section knows it, else the nearest."""
    tables = (section.values_elsewhere.get(str(keys[-1]), {}) for section in _sections(model, keys))
    told = (table.get(value.lower()) for table in tables)
    return next(filter(None, told), None) or nearest(value, known, cutoff=ALIKE)


def _mend(details: ErrorDetails, model: type[BaseModel], keys: Keys) -> str:
    value = details["input"]
    if details["type"] in _NUMBERS and isinstance(value, str) and _is_number(value):
        return plain(f"Remove the quotes: {keys[-1]}: {value}")
    if details["type"] in ("literal_error", "enum"):
        expected = str(details.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
        return _mend_value(str(value), expected.split(", "), model, keys)
    default = _default(model, keys)
    return "" if default is None else f"The default is {keys[-1]}: {json.dumps(default)}."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    return plain(json.dumps(value, ensure_ascii=False, default=str), 80)


def _written(location: Sequence[str | int], value: Any) -> Keys:
    """The parts of pydantic's location that the document has: it names union members and absent settings as well."""
    keys: list[str | int] = []
    for part in location:
        members: Any = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        if part in members:
            keys.append(part)
            value = members[part]
    return tuple(keys)


def _settings_at(model: Any, keys: Keys) -> dict[str, Any]:
    """Name -> type of the settings in the section that `keys` lead to; {} where it has no fixed names."""
    for key in keys:
        model = _inside(model, key)
    return {name: kind for option in _options(model) for name, kind in _settings(option).items()}


def _sections(model: Any, keys: Keys) -> list[type[Strict]]:
    """The groups of settings that the last of `keys` is meant for: several where the section may be of either kind."""
    for key in keys[:-1]:
        model = _inside(model, key)
    return [option for option in _options(model) if _is_strict(option)]


def _inside(model: Any, key: str | int) -> Any:
    for option in _options(model):
        settings = _settings(option)
        if key in settings:
            return settings[str(key)]
        if get_origin(option) is not None and get_args(option):
            return get_args(option)[-1 if get_origin(option) is dict else 0]
    return None


def _options(kind: Any) -> Iterator[Any]:
    """The members of a union, without annotations."""
    if get_origin(kind) is Annotated:
        yield from _options(get_args(kind)[0])
    elif get_origin(kind) in (Union, types.UnionType):
        for option in get_args(kind):
            yield from _options(option)
    else:
        yield kind


def _settings(kind: Any) -> dict[str, Any]:
    if _is_model(kind):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {}


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_strict(kind: Any) -> TypeGuard[type[Strict]]:
    return isinstance(kind, type) and issubclass(kind, Strict)


def _default(model: Any, keys: Keys) -> Any:
    for key in keys[:-1]:
        model = _inside(model, key)
    for option in _options(model):
        field = option.model_fields.get(str(keys[-1])) if keys and _is_model(option) else None
        if field is not None and isinstance(field.default, int | float | str):
            return field.default
    return None
