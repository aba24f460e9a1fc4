"""What size of picture is accepted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageLimits:
    """`max_bytes` in bytes; sides and pixels as the picture is displayed."""

    max_bytes: int = 10 * 1024 * 1024
    min_side: int = 50
    max_side: int = 4096
    max_pixels: int = 4096 * 4096
