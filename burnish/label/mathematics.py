"""A formula in LaTeX as MathML that can do nothing. Knows no Markdown.

latex2mathml makes the tree; what of it may stand on a page is decided here, element by element, since it hands through
links, styles and whatever a formula's author writes into an attribute.
"""

from __future__ import annotations

import re
import unicodedata
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from markupsafe import escape

LONGEST = 2000
"""Characters of a formula; a longer one is shown as it was written."""
DEEPEST = 60
"""Elements in one another."""
_ELEMENT = re.compile(
    "math|none|m(row|i|n|o|text|space|frac|sqrt|root|sub|sup|subsup|under|over|underover|multiscripts|prescripts"
    "|table|tr|td|style|padded|enclose)"
)
"""Not `mphantom`: nothing may be hidden from those who judge."""
_ATTRIBUTE = re.compile(
    "display|displaystyle|scriptlevel|mathvariant|stretchy|fence|form|accent|accentunder|movablelimits|largeop|notation"
    "|columnalign|columnspacing|rowspacing|columnlines|rowlines"
)
"""Neither colours, by which a formula could be hidden, nor anything that points somewhere."""
ALPHABETS = {"double-struck": "DOUBLE-STRUCK", "script": "SCRIPT", "fraktur": "FRAKTUR", "bold": "BOLD"}
"""Values of mathvariant that browsers leave to the letters themselves."""
_VALUE = re.compile(r"[\w.+% -]{0,40}")
_LENGTH = re.compile(r"[+-]?\d?(\.\d+)?(em|ex|mu|pt|px)?")
_LENGTHS = re.compile("width|height|depth|[lr]space|voffset|minsize|maxsize|linethickness")
_CODE = re.compile(r"&#x([0-9A-Fa-f]{1,6});")
_MACROS = re.compile(r"\\(re)?(newcommand|newenvironment|providecommand|def|let|DeclareMathOperator)(?![A-Za-z])")
"""A few of these make a formula of any length."""


def mathml(formula: str, *, block: bool = False) -> str | None:
    """The `math` element of a formula, `block` for one on a line of its own; None for what cannot be made one."""
    if len(formula) > LONGEST or _MACROS.search(formula):
        return None
    try:
        tree = convert_to_element(formula, display="block" if block else "inline")
    except Exception:  # noqa: BLE001 - it raises IndexError, KeyError and others for formulas that are not LaTeX
        return None
    return _written(tree, 0)


def _written(element: Element, depth: int) -> str | None:
    inner = [_written(child, depth + 1) for child in element] if depth < DEEPEST else [None]
    if None in inner:
        return None
    name = element.tag if _ELEMENT.fullmatch(element.tag) else "mrow"
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in element.attrib.items() if _allowed(key, value))
    text = _CODE.sub(lambda code: chr(min(int(code[1], 16), 0x10FFFF)), element.text or "")
    letter = _letter(text, element.attrib.get("mathvariant", ""))
    return f"<{name}{attributes}>{escape(letter)}{''.join(each for each in inner if each)}</{name}>"


def _allowed(key: str, value: str) -> bool:
    if _LENGTHS.fullmatch(key):
        return _LENGTH.fullmatch(value) is not None
    return _ATTRIBUTE.fullmatch(key) is not None and _VALUE.fullmatch(value) is not None


def _letter(text: str, variant: str) -> str:
    """ℝ for R in double-struck; the text itself where Unicode has no such letter."""
    alphabet = ALPHABETS.get(variant)
    if alphabet is None or len(text) != 1 or not text.isascii() or not text.isalnum():
        return text
    size = "DIGIT" if text.isdigit() else "CAPITAL" if text.isupper() else "SMALL"
    letter = unicodedata.name(text).split()[-1]
    for name in (f"{alphabet} {size} {letter}", f"MATHEMATICAL {alphabet} {size} {letter}"):
        try:
            return unicodedata.lookup(name.replace("FRAKTUR", "BLACK-LETTER") if name.startswith("FRAKTUR") else name)
        except KeyError:
            continue
    return text
