"""Texts of models on a page: what is laid out, and that nothing of them can do anything."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from burnish.label.mathematics import mathml
from burnish.label.texts import LONGEST_LAID_OUT, shown
from burnish.store.session import Store

from .conftest import Browser

TAGS = re.compile(
    "div|p|h[12]|em|strong|s|code|pre|[uo]l|li|blockquote|hr|br|span|table|thead|tbody|t[rhd]|math"
    "|m(row|i|n|o|text|space|frac|sqrt|root|sub|sup|subsup|under|over|underover|table|tr|td|style|padded)"
)
CLASSES = {
    "text",
    "text written",
    "linked",
    "address",
    "picture",
    "formula",
    "language",
    "unseen",
    "end",
    "start",
    "middle",
}


class Seen(HTMLParser):
    """What a browser would make of it: elements with attributes, and the text that is seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(str(html))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def inside(text: str) -> str:
    found = re.fullmatch(r'<div class="text" dir="auto">(.*)</div>', shown(text), re.DOTALL)
    assert found, "it was not laid out"
    return found[1]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("## Head", '<h2 dir="auto">Head</h2>'),
        ("*it* **b** ~~s~~ `c`", "<em>it</em> <strong>b</strong> <s>s</s> <code>c</code>"),
        ("one\ntwo", "one<br />\ntwo"),
        ("- a\n- b", '<ul dir="auto">\n<li>a</li>\n<li>b</li>\n</ul>'),
        ("3. a\n4. b", '<ol start="3" dir="auto">'),
        ("> q", '<blockquote dir="auto">'),
        ("|a|b|\n|-|-:|\n|1|2|", '<th>a</th>\n<th class="end">b</th>'),
        ("```python x\nif a < b:\n```", '<span class="language">python x</span><code>if a &lt; b:\n</code>'),
        (
            "[x](https://e.org 'T')",
            '<span class="linked">x</span> <code class="address" dir="ltr">https://e.org T</code>',
        ),
        ("<https://e.org>", '<span class="linked">https://e.org</span>'),
        ("![a *b*](https://e.org/p.png)", '<span class="picture">a b</span> <code class="address"'),
        ("[c]: # (told to nobody)", "[c]: # (told to nobody)"),
        ("<!-- told to nobody -->", "&lt;!-- told to nobody --&gt;"),
        ("$x^2$", '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'),
        (r"\(x\)", '<math display="inline"><mrow><mi>x</mi></mrow></math>'),
        ("$$\nx\n- y\n$$", '<math display="block"><mrow><mi>x</mi><mo>−</mo><mi>y</mi></mrow></math>'),
        (r"so \[x\] holds", '<span class="formula"><math display="block">'),
        ("- a\n  $$\n  x\n  $$", '<li>a<span class="formula"><math display="block">'),
        ("$$ a $$ and $$ b $$", "</math></span> and <span"),
        (r"$\mathbb{R}\mathbf{x}\mathfrak{g}$", "<mi>ℝ</mi><mi>𝐱</mi><mi>𝔤</mi>"),
        (r"$\notacommand{$", r'<code class="formula">$\notacommand{$</code>'),
        ("It costs $5 and $10, or $5-$10.", "It costs $5 and $10, or $5-$10."),
        (r"\$x\$ and `$x$`", "$x$ and <code>$x$</code>"),
        ("مرحبا\n\n- أولا", '<p dir="auto">مرحبا</p>\n<ul dir="auto">\n<li>أولا</li>'),
        ("日本語の**文章**です", "日本語の<strong>文章</strong>です"),
        (
            "evil\u202etxt.exe &#x2066;",
            'evil<span class="unseen">U+202E</span>txt.exe <span class="unseen">U+2066</span>',
        ),
        ("a\U000e0041b", 'a<span class="unseen">U+E0041</span>b'),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_stands_on_a_page(text: str, html: str):
    assert html in inside(text)


def test_as_it_was_written_every_character_is_seen():
    text = "# a\n\n*b* <i>c</i> $x$ 'd' \u202e"
    html = shown(text, written=True)
    assert Seen(html).text == text.replace("\u202e", "U+202E")
    assert {tag for tag, _ in Seen(html).elements} == {"div", "span"}


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "</div></section><form action=/people/1>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&#58;alert(1))",
    "[x](<java\nscript:alert(1)>)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](data:image/png;base64,AAAA)",
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    '[x](https://e.org "a\\" onmouseover=\\"alert(1)")',
    "[x](https://e.org/'onmouseover='alert(1))",
    '!["onerror="alert(1)](https://e.org/p.png)',
    '<https://e.org/"onclick=alert(1)>',
    "<javascript:alert(1)>",
    '```"><script>alert(1)</script>\ncode\n```',
    "|<b>|\n|-|\n|<script>alert(1)</script>|",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    r"$\text{<script>alert(1)</script>}$",
    r"$\text{&#x3c;script&#x3e;alert(1)}$",
    r"$\text{&lt;img src=x onerror=alert(1)&gt;}$",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\class{card}{x} \style{position:fixed}{y} \id{main}{z}$",
    r"$\color{red' onclick='alert(1)}{x}$",
    r"$\hspace{-9999em}\rule{9999em}{9999em} x$",
    r"$\phantom{told to nobody} \color{white}{nor this}$",
    r"$\begin{array}{c'|\"onclick=alert(1)}x\end{array}$",
    r"$\unicode{x3c}script\unicode{x3e}$",
    r"$$\def\a{\b\b}\def\b{\c\c}\def\c{\a\a}\a$$",
    "$" + "{" * 1900 + "$",
    "\x00\x1b[31m\x9b",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("written", [False, True])
def test_nothing_can_do_anything(text: str, written: bool):
    for around in ("{}", "# {}", "- {}", "> {}", "**{}**", "[{}](/x)", "|{}|\n|-|"):
        for tag, attributes in Seen(shown(around.replace("{}", text), written=written)).elements:
            assert TAGS.fullmatch(tag)
            assert not {"href", "src", "style", "id", "name", "action", "title", "background"} & attributes.keys()
            assert not [name for name in attributes if name.startswith("on")]
            assert attributes.get("class") in CLASSES | {None}


@pytest.mark.parametrize("formula", [r"\hspace{-99em}x", r"\rule{99em}{9em}", r"\mathstrut\kern{-500pt}y"])
def test_no_formula_covers_another_place(formula: str):
    html = mathml(formula)
    assert html is None or not re.search(r'="[-+]?\d{2,}', html)


N = LONGEST_LAID_OUT


@pytest.mark.parametrize(
    "text",
    [
        "[" * N,
        "*a _b " * (N // 6),
        "> " * (N // 2),
        "\n".join(" " * (at % 80) + "- a" for at in range(700)),
        "a|b\n-|-\n" + "|||\n" * (N // 5),
        "|" * 2000 + "\n" + "|-" * 2000 + "|\n" + "|\n" * (N // 3),
        "$a " * (N // 3),
        "$$a\n" * (N // 4),
        r"$\frac{1}{2}$ " * (N // 14),
        "<![CDATA[" * (N // 9),
        "`a``b" * (N // 5),
        "x" * 1_000_000,
        "*a* " * 250_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_hostile_text_takes_no_longer_than_a_few_seconds(text: str):
    began = time.process_time()
    html = shown(text)
    assert time.process_time() - began < 5
    assert len(html) < 30 * len(text) + 1000


def test_a_book_stands_as_it_was_written():
    assert shown("*a* " * N).startswith('<div class="text written"')


def test_the_choice_is_kept(store: Store, enter: Callable[..., Browser], fill: Callable[..., int]):
    browser, campaign = enter("Amina"), fill(store, texts=("**one**", "two"))
    assert "<strong>one</strong>" in browser.open(f"/campaigns/{campaign}")
    (other,) = re.findall(r'id="written" href="(\?[^"]+)"', browser.open(f"/campaigns/{campaign}?saved=1"))
    assert other == "?saved=1&amp;written=1"
    assert "**one**" in browser.open(f"/campaigns/{campaign}?written=1")
    page = browser.open(f"/campaigns/{campaign}")
    assert "**one**" in page
    assert "?written=0" in page
    assert "<strong>one</strong>" in browser.open(f"/campaigns/{campaign}?written=0")
    assert "<strong>one</strong>" in browser.open(f"/campaigns/{campaign}")
