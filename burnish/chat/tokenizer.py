"""Text and token ids of one model, without transformers. Knows tokenizer files; knows no message and no weight.

Two readings of text are kept apart. `encode` reads what people and models say: no text becomes a special token.
`encode_markup` reads what the chat template itself writes: special tokens are meant there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from burnish.chat.template import Template, pinned
from burnish.errors import DataError, ModelError, Problem, warn_once

VOCABULARY = "tokenizer.json"
CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
GENERATION = "generation_config.json"
_KEPT = (VOCABULARY, CONFIG, TEMPLATE, "special_tokens_map.json")
_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FILE_BYTES = 256 << 20
_log = logging.getLogger(__name__)


class Tokenizer:
    """A tokenizer and its chat template."""

    def __init__(self, files: Mapping[str, bytes], where: str) -> None:
        """`files` are a model folder's tokenizer files by name. Raises ModelError."""
        self._files = {name: files[name] for name in _KEPT if name in files}
        config = _parse(files.get(CONFIG, b"{}"), f"{where}/{CONFIG}")
        names = _special_names(_parse(files.get("special_tokens_map.json", b"{}"), where) | config)
        self._markup = _read_vocabulary(files, where)
        _promote(self._markup, [text for text in (*names.values(), *_listed(config)) if text])
        self._text = tokenizers.Tokenizer.from_str(self._markup.to_str())
        self._text.encode_special_tokens = True
        self.special = {t.content: id for id, t in self._markup.get_added_tokens_decoder().items() if t.special}
        self._begins: dict[str, list[str]] = {}
        for token in filter(None, self.special):
            self._begins.setdefault(token[:2], []).append(token)
        added = self._markup.get_added_tokens_decoder().values()
        self._normalised = self._markup.normalizer is not None and any(t.special and t.normalized for t in added)
        self._never = frozenset(self.special.values()) - {self.special.get(names.get("unk_token", ""), -1)}
        self.vocab_size = 1 + max(self._markup.get_vocab().values())
        self.pad_id = self._markup.token_to_id(names.get("pad_token", ""))
        self.begin = self._find_begin()
        self.template = _template_source(files, config, where)
        self.chat = Template(self.template, names, where)
        self.ending = self._find_ending(names, where)
        self.end_id = self.ending[-1]
        stated = _parse(files.get(GENERATION, b"{}"), f"{where}/{GENERATION}")
        also = [self.special.get(names.get("eos_token", ""), self.end_id), *self._stated_ends(stated, where)]
        self.end_ids = frozenset([self.end_id, *also])

    special: dict[str, int]
    """Special tokens and their ids."""
    vocab_size: int
    """One more than the largest id."""
    pad_id: int | None
    """What its files say that shorter texts are filled up with."""
    begin: list[int]
    """What it puts before a text that is no conversation: the token that begins one (`<bos>`), or nothing."""
    template: str
    """The chat template's source, with the date in place of questions for it (`burnish.chat.template.pinned`)."""
    ending: list[int]
    """Ids that end an answer: `end_id` with what a template writes before it."""
    end_id: int
    """The token that ends an assistant's turn (`<|im_end|>` in ChatML), as it is learned."""
    end_ids: frozenset[int]
    """All tokens that end what a model says: `end_id`, the files' `eos_token`, and those of `generation_config.json`. A
    model that was published may give another than its template writes."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read a model folder's tokenizer. Raises ModelError."""
        files: dict[str, bytes] = {}
        for name in (*_KEPT, GENERATION):
            path = folder / name
            if path.is_file():
                if path.stat().st_size > FILE_BYTES:
                    raise ModelError(Problem(str(path), f"larger than {FILE_BYTES >> 20} MiB"))
                files[name] = path.read_bytes()
        return cls(files, str(folder))

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into a folder that is being filled (`records.durable.folder` seals it). The
        template is a file of its own, which other programs take before what the configuration says."""
        for name, data in self._files.items():
            (folder / name).write_bytes(data)
        (folder / TEMPLATE).write_text(self.template, encoding="utf-8")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary file and the template: the same ids for the same text."""
        return hashlib.sha256(self._files[VOCABULARY] + self.template.encode()).hexdigest()

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token and its id, special ones included."""
        return self._markup.get_vocab()

    def encode(self, text: str) -> list[int]:
        """Ids of what somebody says; never a special token. Raises DataError for text that is not Unicode."""
        try:
            ids: list[int] = self._text.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError(Problem("", "text with a lone surrogate, which is no Unicode character")) from error
        if not self._never.isdisjoint(ids):
            raise ModelError(
                Problem(VOCABULARY, "turns plain text into a special token, so nobody is safe from forged turns")
            )
        return ids

    def encode_markup(self, text: str) -> list[int]:
        """Ids of what a chat template writes; special tokens are read as such."""
        return self._markup.encode(text, add_special_tokens=False).ids

    def forged(self, text: str) -> str | None:
        """A special token that a template's own text would have if this were a part of it; None where there is none."""
        for begin, tokens in self._begins.items():
            if begin in text and (found := next((token for token in tokens if token in text), None)):
                return found
        if not self._normalised:
            return None
        ids = self.encode_markup(text)
        return next((token for token, id in self.special.items() if id in ids), None)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens are left out."""
        return self._markup.decode(list(ids), skip_special_tokens=True)

    def shown(self, ids: Sequence[int]) -> str:
        """Text of ids with special tokens written out: for people who want to see what a model reads."""
        return self._markup.decode(list(ids), skip_special_tokens=False)

    def _find_begin(self) -> list[int]:
        whole, text = (self._markup.encode("a", add_special_tokens=special).ids for special in (True, False))
        return next((whole[:n] for n in range(len(whole)) if whole[n : n + len(text)] == text), [])

    @property
    def spaces(self) -> bool:
        """Whether a space is put before each text that is read (SentencePiece's old habit)."""
        return "".join(self._text.encode("a", add_special_tokens=False).tokens).startswith(("\u2581", "\u0120"))

    def until_end(self, ids: list[int]) -> list[int]:
        """Of ids that a template writes after an answer, those that end it: up to `end_id`, or, where a turn within a
        conversation ends otherwise than the last, up to the first special token."""
        return _until(ids, {self.end_id}) or _until(ids, self.special.values())

    @property
    def rows(self) -> int:
        """One more than the largest id that can occur: a special token does where the template writes it, or it ends
        an answer."""
        written = {id for text in self.chat.texts() for id in self.encode_markup(text)}
        return 1 + max((set(self.vocabulary.values()) - self._never) | written | self.end_ids)

    def _find_ending(self, names: Mapping[str, str], where: str) -> list[int]:
        """Where a template writes no end after the last answer, what begins the next turn is what a model gives."""
        tail = self.encode_markup(self.chat.tail)
        for ids in (tail, self.encode_markup(self.chat.following)):
            if ending := _until(ids, self.special.values()):
                return ending
        if names.get("eos_token") in self.special:
            return [*tail, self.special[names["eos_token"]]]
        raise ModelError(Problem(where, "the chat template ends an assistant's turn without a special token"))

    def _stated_ends(self, stated: Mapping[str, Any], where: str) -> list[int]:
        """What `generation_config.json` says; an id that the vocabulary lacks is left out, as nobody can say it."""
        found = stated.get("eos_token_id")
        listed: list[Any] = found if isinstance(found, list) else [] if found is None else [found]
        if any(type(id) is not int for id in listed):
            raise ModelError(Problem(f"{where}/{GENERATION}", f"eos_token_id is {found!r}, not a token's id or a list"))
        return [id for id in listed if 0 <= id < self.vocab_size]


def _until(ids: list[int], ends: Container[int]) -> list[int]:
    """Up to the first of the ends, included; empty where there is none."""
    return next((ids[: number + 1] for number, id in enumerate(ids) if id in ends), [])


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(Problem(where, f"not JSON ({error})")) from error
    if not isinstance(value, dict):
        raise ModelError(Problem(where, "not a JSON object"))
    return value


def _read_vocabulary(files: Mapping[str, bytes], where: str) -> tokenizers.Tokenizer:
    if VOCABULARY not in files:
        raise ModelError(
            Problem(
                where,
                f"no {VOCABULARY} here",
                "Save it with: python -c \"from transformers import AutoTokenizer as T; T.from_pretrained('ID')"
                ".save_pretrained('FOLDER')\".",
            )
        )
    _parse(files[VOCABULARY], f"{where}/{VOCABULARY}")
    try:
        made = tokenizers.Tokenizer.from_str(files[VOCABULARY].decode())
    except UnicodeDecodeError as error:
        raise ModelError(Problem(f"{where}/{VOCABULARY}", "not UTF-8")) from error
    except Exception as error:
        if type(error) is not Exception:  # the tokenizers library raises bare Exceptions, and nothing else is meant
            raise
        raise ModelError(Problem(f"{where}/{VOCABULARY}", f"not a tokenizer ({error})")) from error
    made.no_truncation()
    made.no_padding()
    return made


def _special_names(config: Mapping[str, Any]) -> dict[str, str]:
    found = {name: _content(config.get(name)) for name in _NAMES}
    return {name: text for name, text in found.items() if text}


def _listed(config: Mapping[str, Any]) -> list[str]:
    listed = config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
    return [_content(entry) for entry in (listed.values() if isinstance(listed, dict) else listed)]


def _content(entry: Any) -> str:
    """A special token stands in the files as its text or as an object that holds it."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else ""


def _promote(vocabulary: tokenizers.Tokenizer, texts: Sequence[str]) -> None:
    """Tokens that the configuration calls special are so, even where the vocabulary file forgets to say it."""
    vocabulary.add_special_tokens([text for text in texts if vocabulary.token_to_id(text) is not None])


def _template_source(files: Mapping[str, bytes], config: Mapping[str, Any], where: str) -> str:
    own = config.get("chat_template")
    if isinstance(own, list):
        own = {entry["name"]: entry["template"] for entry in own if isinstance(entry, dict)}.get("default")
    own = pinned(own) if isinstance(own, str) else None
    beside = pinned(files[TEMPLATE].decode(errors="replace")) if TEMPLATE in files else None
    if own is not None and beside is not None and own != beside:
        warn_once(_log, f"{where}: {CONFIG} and {TEMPLATE} hold different chat templates: the latter is taken")
    source = beside if beside is not None else own
    if source is None:
        raise ModelError(
            Problem(where, "no chat template", f"Use the model's instruct version, or put a {TEMPLATE} there.")
        )
    return source
