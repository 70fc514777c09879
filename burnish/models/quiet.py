"""Silence around transformers: the one place where a library's own talk is turned off, and why. Knows no model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from transformers.utils import logging as talk


@contextmanager
def quiet() -> Generator[None]:
    """No bars (burnish draws its own), no advice (burnish says what matters in its own errors), no library warnings.

    The warnings are about the libraries' own insides (deprecated calls among themselves); what is wrong with a model is
    found by burnish's own checks before transformers sees it.
    """
    level, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity(logging.CRITICAL)
    talk.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()
