"""A text of a person or a model as HTML that can do nothing: Markdown, mathematics, any script. Knows no page.

No text of theirs reaches an attribute. HTML is shown as it was typed; nothing is fetched and nothing can be followed:
links and pictures stand there with their address. What takes too long to lay out stands there as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import pass_context
from jinja2.runtime import Context
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from burnish.label.mathematics import LONGEST, mathml

LONGEST_LAID_OUT = 30_000
"""Characters. What is longer stands there as it was written: the worst text of this length takes about a second."""
MOST_MATHEMATICS = 20_000
"""Characters of formulas in a text; the others stand there as they were written."""
MOST_LINES = 50
"""Of a formula."""
LONGEST_ADDRESS = 200
"""Characters of an address that are shown: a picture can be one whole address."""
_BLOCKS = {"$$": "$$", "\\[": "\\]"}
_ALIGNED = {"text-align:left": "start", "text-align:right": "end", "text-align:center": "middle"}
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Controls, those that turn the direction of what follows among them, and letters that only a model reads. Marks that
Arabic, Hebrew, Persian and Thai are written with (U+200B to U+200F, U+061C) are not among them."""


def shown(text: str, *, written: bool = False) -> Markup:
    """The element that shows a text; `written`: every character as it was written, Markdown's marks too."""
    laid_out = None if written else _laid_out(text)
    kind = " written" if laid_out is None else ""
    inside = escapeHtml(text) if laid_out is None else laid_out
    inside = _UNSEEN.sub(_named, inside).replace("'", "&#39;")
    return Markup(f'<div class="text{kind}" dir="auto">{inside}</div>')


@pass_context
def shown_here(context: Context, text: str) -> Markup:
    """The filter of the pages: as whoever looks at them wants texts (`written`)."""
    return shown(text, written=bool(context.get("written")))


def _laid_out(text: str) -> str | None:
    """The Markdown of a text as HTML; None where that would take too long."""
    if len(text) > LONGEST_LAID_OUT:
        return None
    html: str = _MARKDOWN.render(text, {"left": MOST_MATHEMATICS})
    return html if len(html) < 20 * len(text) + 1000 else None  # a row of a table may be one character


def _named(found: re.Match[str]) -> str:
    return f'<span class="unseen">U+{ord(found[0]):04X}</span>'


class _Inert(RendererHTML):
    """HTML without links, pictures, styles, or anything of the text in an attribute."""

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<span class="linked">'

    def link_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        opened = next(tokens[at] for at in range(idx, -1, -1) if tokens[at].type == "link_open")
        return "</span>" if opened.info == "auto" else f"</span>{_address(opened, 'href')}"

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        said = self.renderInlineAsText(tokens[idx].children or [], options, env)
        return f'<span class="picture">{escapeHtml(said)}</span>{_address(tokens[idx], "src")}'

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        said = escapeHtml(tokens[idx].info.strip())
        head = f'<span class="language">{said}</span>' if said else ""
        return f'<pre dir="auto">{head}<code>{escapeHtml(tokens[idx].content)}</code></pre>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return self.fence(tokens, idx, options, env)

    def mathematics(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        env["left"] -= len(token.content)
        made = mathml(token.content, block=token.block) if env["left"] >= 0 else None
        if made is None:
            return f'<code class="formula">{escapeHtml(token.markup + token.content + token.info)}</code>'
        return f'<span class="formula">{made}</span>' if token.block else made


def _address(token: Token, where: str) -> str:
    """What a page would not have shown: where it points, and a title."""
    text = " ".join(str(token.attrs[name]) for name in (where, "title") if name in token.attrs)
    cut = text if len(text) <= LONGEST_ADDRESS else f"{text[:LONGEST_ADDRESS]}…"
    return f' <code class="address" dir="ltr">{escapeHtml(cut)}</code>'


def _inline_mathematics(state: StateInline, silent: bool) -> bool:
    """$x$, $$x$$, \\(x\\), \\[x\\]. As Pandoc has it, no sum of money is a formula: after the first $ and before the
    last comes no space, and after the last no digit."""
    found = _INLINE.match(state.src, state.pos, min(state.posMax, state.pos + LONGEST + 4))
    if found is None:
        return False
    if not silent:
        opening, closing = _MARKS[found.lastgroup or ""]
        token = state.push("mathematics", "", 0)
        token.markup, token.info, token.content = opening, closing, found[0][len(opening) : -len(closing)]
        token.block = opening in ("$$", "\\[")
    state.pos = found.end()
    return True


_INLINE = re.compile(
    r"\$\$(?P<two>[^$]+)\$\$|\\\[(?P<square>.+?)\\\]|\\\((?P<round>.+?)\\\)"
    r"|\$(?P<one>(?![\s$])(?:[^$\\]|\\.)*?(?<![\s\\]))\$(?!\d)",
    re.DOTALL,
)
_MARKS = {"two": ("$$", "$$"), "square": ("\\[", "\\]"), "round": ("\\(", "\\)"), "one": ("$", "$")}


def _block_mathematics(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A formula that begins a line, to the line that ends with its closing mark: what stands in it begins no list."""
    if state.is_code_block(start):
        return False
    said = content = closing = ""
    for line in range(start, min(end, start + MOST_LINES)):
        if state.isEmpty(line) or state.sCount[line] < state.blkIndent:
            return False
        said += state.getLines(line, line + 1, state.blkIndent, True)
        closing = _BLOCKS.get(said.lstrip()[:2], "")
        if not closing:
            return False
        content = said.strip()[2:-2]
        if content and said.rstrip().endswith(closing):
            break
    else:
        return False
    if closing in content:
        return False  # two of them in one line
    if not silent:
        state.line = line + 1
        token = state.push("mathematics", "", 0)
        token.markup, token.info, token.content = said.lstrip()[:2], closing, content
        token.block, token.map = True, [start, state.line]
    return True


def _directions(tokens: list[Token]) -> None:
    """Each block runs the way of its first letters, with all that is in it; a column's side is a class, since a page
    takes no styles."""
    for token in tokens:
        if token.nesting == 1 and token.level == 0:
            token.attrSet("dir", "auto")
        if style := token.attrs.pop("style", ""):
            token.attrSet("class", _ALIGNED[str(style)])


def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "breaks": True}, renderer_cls=_Inert)
    made.enable(["table", "strikethrough"])
    made.disable("reference")  # it hides what it defines, and nothing may be hidden from those who judge
    made.block.ruler.before("fence", "mathematics", _block_mathematics, {"alt": ["paragraph", "blockquote", "list"]})
    made.inline.ruler.before("escape", "mathematics", _inline_mathematics)
    made.core.ruler.push("directions", lambda state: _directions(state.tokens))
    return made


_MARKDOWN = _markdown()
