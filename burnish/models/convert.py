"""From a GGUF file to an ordinary model folder: weights dequantised to fp32, tokenizer rebuilt. Knows both formats.

Stored as fp32 although the parts are 4 bits wide: scale times number plus offset has more digits than bf16 keeps (the
largest error would be 0.3% of a tensor's largest value), and a later choice of type should not inherit that.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from burnish.chat.tokenizer import VOCABULARY, Tokenizer
from burnish.errors import ModelError, Problem
from burnish.models import folder as folders
from burnish.models import gguf, unread, weights
from burnish.models.quiet import quiet
from burnish.types import Progress

_FAULTS = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RuntimeError, ImportError)
"""What transformers raises for an architecture, tokenizer or type that it cannot read from GGUF."""
_DIGITS_APART = ("smollm", "refact", "starcoder", "command-r", "codeshell", "exaone")
"""Values of `tokenizer.ggml.pre` whose models were trained with every digit a token of its own. transformers rebuilds
such a tokenizer without that step, and then reads "\\n\\n1." in pieces the model hardly knows."""
_AS_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo", "jais")
"""Those that split text as GPT-2 does, which is what transformers makes of every value that it does not know."""
_WORDS = "tokenizer.ggml.pre"
_WHOLE_FIRST = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2", "tekken")
"""Those whose words are taken whole where the vocabulary has them, whatever the merges come to."""


def dequantise(path: Path, folder: Path, progress: Progress) -> None:
    """Fill `folder` with what a GGUF file holds. Raises ModelError."""
    progress.start(f"unpacking {path.name}", 4)
    header = gguf.check(path)
    _require_known_words(header, path)
    progress.advance(note="header checked")
    try:
        with quiet():
            AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
        _mend_tokenizer(folder / VOCABULARY, header)
        progress.advance(note="tokenizer rebuilt")
        with quiet(), redirect_stderr(io.StringIO()):  # a bar of its own, which no setting turns off
            config = unread.completed(AutoConfig.from_pretrained(path.parent, gguf_file=path.name), header, path)
            read: Any = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, config=config, output_loading_info=True
            )
            model, loaded = read
            unread.require_whole(model, loaded["missing_keys"], loaded["unexpected_keys"], header)
        progress.advance(note="weights dequantised")
    except Exception as error:
        if not _is_fault(error):
            raise
        found = f"transformers cannot read this file of a {header.keys['general.architecture']} model ({error})"
        raise ModelError(Problem(str(path), found)) from error
    _write(model, folder)
    progress.advance()
    progress.finish("weights written")


def _is_fault(error: Exception) -> bool:
    """The file's fault, and not told yet: not a full disk. tokenizers raises bare Exceptions, transformers OSErrors
    without a number."""
    told = isinstance(error, ModelError) or (isinstance(error, OSError) and error.errno is not None)
    return not told and (isinstance(error, (*_FAULTS, OSError)) or type(error) is Exception)


def _write(model: PreTrainedModel, folder: Path) -> None:
    config: Any = model.config
    del config.quantization_config
    tied = folders.tied_names(model)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    weights.write(folder / weights.FILE, folders.filed(folders.shell(config), tensors))
    folders.write_config(folder, config, dtype=torch.float32, tokenizer=Tokenizer.load(folder))


def _require_known_words(header: gguf.Header, path: Path) -> None:
    """Raises ModelError where transformers would split text into other words than the model learned to read."""
    kind = header.keys.get(_WORDS)
    if header.keys.get("tokenizer.ggml.model") == "gpt2" and kind not in (
        *GGUF_PRE_TOKENIZER_SPLITS,
        *_DIGITS_APART,
        *_AS_GPT2,
    ):
        found = f"its tokenizer splits text into words as {kind!r} does, which is not known here ({_WORDS})"
        raise ModelError(Problem(str(path), found, "Use the model's safetensors version, or a file converted anew."))


def _mend_tokenizer(path: Path, header: gguf.Header) -> None:
    """What transformers leaves out when it rebuilds a tokenizer."""
    stored, kind = json.loads(path.read_bytes()), header.keys.get(_WORDS)
    if kind in _WHOLE_FIRST:
        stored["model"]["ignore_merges"] = True
    if kind in _DIGITS_APART:
        digits = {"type": "Digits", "individual_digits": True}
        stored["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, stored["pre_tokenizer"]]}
    before = stored["pre_tokenizer"] or {}
    if header.keys.get("tokenizer.ggml.add_space_prefix") is False and before.get("type") == "Metaspace":
        before["prepend_scheme"] = "never"
        stored["decoder"]["decoders"] = [each for each in stored["decoder"]["decoders"] if each["type"] != "Strip"]
    path.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
