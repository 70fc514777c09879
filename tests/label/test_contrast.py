"""Colours that text and controls stand in: WCAG 2.2's contrast at level AA (1.4.3 and 1.4.11), in light and in dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from burnish.label import app

STYLE = (Path(app.__file__).parent / "static" / "style.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
)
Colour = tuple[float, float, float]


def colour(text: str, under: Colour = (0, 0, 0)) -> Colour:
    """Red, green and blue from 0 to 255, as seen over what is under it."""
    if text.startswith("#"):
        red, green, blue = (int(text[at : at + 2], 16) for at in (1, 3, 5))
        return (red, green, blue)
    found = re.fullmatch(r"rgb\((\d+) (\d+) (\d+) / (\d+)%\)", text)
    assert found, text
    *over, share = (float(part) for part in found.groups())
    red, green, blue = (one * share / 100 + two * (1 - share / 100) for one, two in zip(over, under, strict=True))
    return (red, green, blue)


def luminance(seen: Colour) -> float:
    red, green, blue = (
        part / 255 / 12.92 if part / 255 <= 0.04045 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in seen
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_wcags():
    assert contrast(colour("#000000"), colour("#ffffff")) == pytest.approx(21)
    assert contrast(colour("#767676"), colour("#ffffff")) == pytest.approx(4.54, abs=0.01)
    assert colour("rgb(0 0 0 / 50%)", colour("#ffffff")) == (127.5, 127.5, 127.5)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_controls_can_be_seen(theme: dict[str, str]):
    assert LIGHT.keys() == DARK.keys() | {"color-scheme"} or LIGHT.keys() == DARK.keys()
    grounds = {name: colour(theme[name]) for name in ("ground", "card", "tint", "user")}
    grounds |= {f"code on {name}": colour(theme["code"], under) for name, under in list(grounds.items())}
    poor = [
        f"{ink} on {name}: {found:.2f}"
        for ink, least in (("ink", 7), ("soft", 4.5), ("accent", 4.5), ("bad", 4.5))
        for name, under in grounds.items()
        if (found := contrast(colour(theme[ink]), under)) < least
    ]
    assert poor == []
    assert contrast(colour(theme["accent-ink"]), colour(theme["accent"])) >= 4.5
    assert all(contrast(colour(theme["line-strong"]), grounds[name]) >= 3 for name in ("ground", "card"))
