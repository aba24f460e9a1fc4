"""Pictures that tests draw, as files."""

import io

from PIL import Image, ImageDraw


def subject(width: int = 320, height: int = 240) -> Image.Image:
    """A red ball on a plain wall: a picture with an unmistakable subject."""
    image = Image.new("RGB", (width, height), (205, 214, 221))
    side = min(width, height)
    left, top = (width - side // 2) // 2, (height - side // 2) // 2
    ImageDraw.Draw(image).ellipse((left, top, left + side // 2, top + side // 2), fill=(190, 30, 40))
    return image


def encoded(image: Image.Image | None = None, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    (image or subject()).save(out, kind, **options)
    return out.getvalue()
