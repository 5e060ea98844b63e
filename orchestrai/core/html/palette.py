"""The colours of all pages, by day and by night; a test works out the contrast of every pair that is used."""

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "ink": "#16202c", "dim": "#4d5a69", "line": "#cdd6e0", "edge": "#7f8d9c", "card": "#ffffff", "ground": "#f3f5f8",
    "good": "#0d6a43", "goodbg": "#e3f5ec", "bad": "#a3261b", "badbg": "#fdeae7", "warn": "#7d4a00", "warnbg": "#fdf1de",
    "link": "#174ea6", "one": "#2f6fc0", "two": "#b5487a", "three": "#0f7f8c", "four": "#96631a", "band": "#dbe7f6",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "ink": "#e7edf4", "dim": "#a9b5c3", "line": "#33404d", "edge": "#7c8b9b", "card": "#18212b", "ground": "#0f151c",
    "good": "#57cf99", "goodbg": "#12301f", "bad": "#ff9a8f", "badbg": "#3a1a17", "warn": "#f2b866", "warnbg": "#33240d",
    "link": "#86b4f5", "one": "#6aa5ee", "two": "#e585b2", "three": "#45bccb", "four": "#e0a94f", "band": "#24384f",
}  # fmt: skip
# letters on what they stand on: 4.5 at least
TEXT = (
    *((letters, ground) for letters in ("ink", "dim", "good", "bad", "warn", "link") for ground in ("card", "ground")),
    ("good", "goodbg"), ("bad", "badbg"), ("warn", "warnbg"), ("ink", "goodbg"), ("ink", "badbg"), ("ink", "warnbg"),
    ("dim", "goodbg"), ("dim", "badbg"), ("dim", "warnbg"), ("ink", "band"),
)  # fmt: skip
# what is drawn on what it is drawn on: 3 at least; `line` and `band` only set apart what is told otherwise, too
DRAWN = (
    *((drawn, "card") for drawn in ("edge", "one", "two", "three", "four", "good", "bad", "warn")),
    ("one", "band"),
)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (#rrggbb) by the formula of WCAG 2: from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def variables() -> str:
    """Both palettes as CSS variables."""
    light, dark = (";".join(f"--{name}:{colour}" for name, colour in colours.items()) for colours in (LIGHT, DARK))
    # what is printed is printed as by day
    night = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return f":root{{color-scheme:light dark;{light}}}{night}"
