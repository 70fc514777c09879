"""A YAML file as plain data with positions, and overrides put into it. Knows no setting.

YAML 1.2: tags, anchors used again, directives and names given twice are refused, and nothing is ever constructed but
text, numbers, lists and mappings. Every value remembers where it was written.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, Event
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from burnish.errors import ConfigError, MachineError, Problem, nearest, plain

Keys = tuple[str | int, ...]
"""The way to a value: names of settings and numbers of list items."""

MAX_BYTES = 2**20
"""A longer file is no recipe."""
MAX_DEPTH = 64
_TAGS = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says, and where it says it."""

    path: Path
    value: dict[str, Any]
    places: Mapping[Keys, str]
    """`file:line:column` of each setting's name and each list's item; `--set a.b=c` where an override said it."""

    def where(self, key: str | Keys) -> str:
        """Where a setting stands, given as "a.b" or its parts, or the nearest setting around it."""
        keys: Keys = tuple(_parts(key)) if isinstance(key, str) else key
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, str(self.path))


def load_yaml(path: Path) -> Document:
    """A YAML file that holds one mapping. Raises ConfigError with every problem found."""
    reader = _Reader(path)
    value = reader.read(_text(path))
    if not reader.problems and not isinstance(value, dict):
        reader.problem(f"{path}:1:1", "the file is empty" if value is None else "settings (name: value) are wanted")
    if reader.problems:
        raise ConfigError(*reader.problems)
    return Document(path=path, value=cast("dict[str, Any]", value), places=reader.places)


def override(document: Document, overrides: Sequence[str]) -> Document:
    """The document with `a.b=value` settings put in; values are read as YAML. Later checks name the override."""
    parsed = [_override(text) for text in overrides]
    _refuse_conflicts(parsed)
    value, places = copy.deepcopy(document.value), dict(document.places)
    for keys, new, text in parsed:
        _put(value, keys, new, text)
        for old in [place for place in places if place[: len(keys)] == keys]:
            del places[old]
        places[keys] = f"--set {text}"
    return Document(path=document.path, value=value, places=places)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ConfigError(Problem(str(path), f"is not a file ({error.strerror})", _near(path))) from error
    except OSError as error:
        raise MachineError(Problem(str(path), f"cannot be read ({error.strerror})")) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(Problem(str(path), f"{len(data):,} bytes; settings have {MAX_BYTES:,} at most"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(Problem(f"{path}:{line}", f"byte 0x{data[error.start]:02x} is not UTF-8")) from error


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {plain(path.parent)}."
    names = [plain(child.name) for child in path.parent.iterdir() if child.suffix in (".yaml", ".yml")]
    return nearest(path.name, names) if names else ""


class _Reader:
    """Turns YAML's nodes into plain values and notes their places and problems."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.places: dict[Keys, str] = {}
        self.problems: list[Problem] = []
        self.seen: set[int] = set()

    def read(self, text: str) -> Any:
        if text.lstrip().startswith("%"):  # a file that calls itself YAML 1.1 would make `no` false and 5e-5 a text
            self.problem(f"{self.path}:1:1", "a YAML directive (%); settings are YAML 1.2", "Remove the line.")
            return None
        yaml = YAML(typ="safe", pure=True)
        try:
            if self._too_deep(yaml, text):
                return None
            node: Node | None = yaml.compose(text)
            return None if node is None else self._value(node, ())
        except MarkedYAMLError as error:
            self._syntax(error)
        except YAMLError as error:
            self.problem(str(self.path), f"not YAML ({str(error).splitlines()[0]})")
        return None

    def _too_deep(self, yaml: YAML, text: str) -> bool:
        """Counted on the parser's events: composing the nodes recurses."""
        depth = 0
        for event in yaml.parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                self.problem(self._at(event), f"nested deeper than {MAX_DEPTH}")
                return True
        return False

    def problem(self, where: str, found: str, mend: str = "") -> None:
        self.problems.append(Problem(where, found, mend))

    def _value(self, node: Node, keys: Keys) -> Any:
        if id(node) in self.seen:
            self.problem(self._at(node), "an anchor used again (*name)", "Write the value out.")
            return None
        self.seen.add(id(node))
        if isinstance(node, MappingNode) and node.tag == f"{_TAGS}map":
            return self._mapping(node, keys)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAGS}seq":
            return self._items(node, keys)
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        return self._refuse_tag(node)

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, ScalarNode):
                self.problem(self._at(name), "a list or mapping as the name of a setting")
                continue
            key = str(name.value)
            if key in found:
                first = self.places[(*keys, key)]
                self.problem(self._at(name), f'"{key}" stands twice (first at {first})', "Remove one of the two.")
                continue
            self.places[(*keys, key)] = self._at(name)
            found[key] = self._value(value, (*keys, key))
        return found

    def _items(self, node: SequenceNode, keys: Keys) -> list[Any]:
        for number, item in enumerate(node.value):
            self.places[(*keys, number)] = self._at(item)
        return [self._value(item, (*keys, number)) for number, item in enumerate(node.value)]

    def _scalar(self, node: ScalarNode) -> Any:
        text = str(node.value)
        try:
            text.encode()
            match str(node.tag).removeprefix(_TAGS):
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return int(text, 0 if text.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "str" | "timestamp" | "merge" | "value":
                    return text
                case _:
                    return self._refuse_tag(node)
        except ValueError as error:
            self.problem(self._at(node), f'"{text}" cannot be read ({error})')

    def _refuse_tag(self, node: Node) -> None:
        tag = str(node.tag).replace(_TAGS, "!!")
        self.problem(self._at(node), f"the tag {tag} is refused: settings are data and run nothing", "Remove the tag.")

    def _syntax(self, error: MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        where = f"{self.path}:{mark.line + 1}:{mark.column + 1}" if mark else str(self.path)
        found = error.problem or error.context or "not YAML"
        tab = "\\t" in found or "tab" in found
        self.problem(where, f"not YAML: {found}", "Indent with spaces: YAML takes no tabs." if tab else "")

    def _at(self, node: Node | Event) -> str:
        mark = node.start_mark
        return f"{self.path}:{mark.line + 1}:{mark.column + 1}"


Override = tuple[Keys, Any, str]
"""Where, the new value, and the text that said so."""


def _override(text: str) -> Override:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not all(name.strip().split(".")):
        raise ConfigError(Problem(f"--set {text}", "a name, = and a value are wanted", "Write: --set sft.lr=1e-4"))
    reader = _Reader(f"--set {text}")
    parsed = reader.read(value)
    if reader.problems:
        problems = [Problem(f"--set {text}", problem.found, problem.mend) for problem in reader.problems]
        raise ConfigError(*problems)
    return tuple(_parts(name.strip())), parsed, text


def _parts(name: str) -> Iterator[str | int]:
    return (int(part) if part.isdecimal() else part for part in name.split("."))


def _refuse_conflicts(overrides: list[Override]) -> None:
    problems: list[Problem] = []
    for number, (keys, value, text) in enumerate(overrides):
        for earlier, other, first in overrides[:number]:
            shorter = min(len(keys), len(earlier))
            if keys[:shorter] == earlier[:shorter] and (keys, value) != (earlier, other):
                problems.append(Problem(f"--set {text}", f"contradicts --set {first}", "Remove one of the two."))
    if problems:
        raise ConfigError(*problems)


def _put(value: Any, keys: Keys, new: Any, text: str) -> None:
    """Set one value in nested settings; sections that are absent or empty are made."""
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(value, list) and isinstance(key, int) and key < len(value):
            items = cast("list[Any]", value)
            items[key] = new if last else items[key]
            value = items[key]
        elif isinstance(value, dict):
            section = cast("dict[str, Any]", value)
            name = str(key)
            section[name] = new if last else ({} if section.get(name) is None else section[name])
            value = section[name]
        else:
            above = ".".join(map(str, keys[:number]))
            what = f"a list of {len(cast('list[Any]', value))}" if isinstance(value, list) else json.dumps(value)
            raise ConfigError(Problem(f"--set {text}", f'"{above}" is {what}: there is no "{key}" in it'))
