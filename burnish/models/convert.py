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
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from burnish.chat.tokenizer import VOCABULARY, Tokenizer
from burnish.errors import ModelError, Problem
from burnish.models import folder as folders
from burnish.models import gguf, weights
from burnish.models.quiet import quiet
from burnish.types import Progress

_FAULTS = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RuntimeError, ImportError)
"""What transformers raises for an architecture, tokenizer or type that it cannot read from GGUF."""
_DIGITS_APART = ("smollm",)
"""Values of `tokenizer.ggml.pre` whose models were trained with every digit a token of its own. transformers rebuilds
such a tokenizer without that step, and then reads "\\n\\n1." in pieces the model hardly knows."""


def dequantise(path: Path, folder: Path, progress: Progress) -> None:
    """Fill `folder` with what a GGUF file holds. Raises ModelError."""
    progress.start(f"unpacking {path.name}", 4)
    header = gguf.check(path)
    progress.advance(note="header checked")
    try:
        with quiet():
            AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
        _mend_tokenizer(folder / VOCABULARY, str(header.keys.get("tokenizer.ggml.pre")))
        progress.advance(note="tokenizer rebuilt")
        with quiet(), redirect_stderr(io.StringIO()):  # a bar of its own, which no setting turns off
            model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
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
    """The file's fault: not a full disk. tokenizers raises bare Exceptions, transformers OSErrors without a number."""
    by_disk = isinstance(error, OSError) and error.errno is not None
    return not by_disk and (isinstance(error, (*_FAULTS, OSError)) or type(error) is Exception)


def _write(model: PreTrainedModel, folder: Path) -> None:
    config: Any = model.config
    del config.quantization_config
    tied = folders.tied_names(model)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    weights.write(folder / weights.FILE, folders.filed(folders.shell(config), tensors))
    folders.write_config(folder, config, dtype=torch.float32, tokenizer=Tokenizer.load(folder))


def _mend_tokenizer(path: Path, kind: str) -> None:
    if kind in _DIGITS_APART:
        stored = json.loads(path.read_bytes())
        digits = {"type": "Digits", "individual_digits": True}
        stored["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, stored["pre_tokenizer"]]}
        path.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
