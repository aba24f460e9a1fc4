"""Colours as people write them."""

import re

from PIL import ImageColor

_HEX = re.compile(r"#?(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.ASCII)


def normalised(text: str) -> str | None:
    """`#rrggbb` for `#rgb`, `#rrggbb` (each without its `#`, too) or one of CSS's names; None for anything else.

    With a digit or two more for the opacity, `#rrggbbaa`; without them again where it is opaque.
    """
    word = text.strip().lower()
    if word in ImageColor.colormap:
        return "#" + bytes(ImageColor.getrgb(word)).hex()
    if _HEX.fullmatch(word):
        digits = word.removeprefix("#")
        written = digits if len(digits) >= 6 else "".join(2 * digit for digit in digits)
        return "#" + (written[:6] if written[6:] == "ff" else written)
    return None
