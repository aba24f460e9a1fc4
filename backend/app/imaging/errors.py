"""What can be wrong with a picture, each with a stable code and the sentence that its sender reads."""

import math

MEBIBYTE = 1024 * 1024
# OpenCV; libwebp through Pillow; onnxruntime; oneDNN; CUDA; the system; whatever else is written in C++.
_OUT_OF_MEMORY = (
    *("insufficient memory", "out of memory", "failed to allocate memory", "is smaller than requested"),
    *("could not create a memory", "alloc_failed", "cannot allocate memory", "bad_alloc"),
    *("encoding error 1", "encoding error 2"),  # libwebp by number
)


class ImageError(Exception):
    """The picture is at fault: trying again cannot help. `str(error)` is the sentence."""

    code = "invalid_image"


class FileEmpty(ImageError):
    code = "file_empty"

    def __init__(self) -> None:
        super().__init__("File is empty")


class FileTooLarge(ImageError):
    code = "file_too_large"

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        size, limit = _apart(size_bytes, max_bytes)
        super().__init__(f"File size ({size}) exceeds maximum ({limit})")


class UnsupportedFormat(ImageError):
    code = "unsupported_format"

    def __init__(self, name: str) -> None:
        super().__init__(f"Unsupported image format: {name}")


class DimensionsTooLarge(ImageError):
    code = "dimensions_too_large"

    def __init__(self, max_side: int) -> None:
        super().__init__(f"Image dimensions too large (max {max_side}x{max_side})")


class TooManyPixels(ImageError):
    """Both sides are within the limit and their product is not."""

    code = "dimensions_too_large"

    def __init__(self, pixels: int, max_pixels: int) -> None:
        super().__init__(f"Image has too many pixels ({pixels:,}, max {max_pixels:,})")


class DimensionsTooSmall(ImageError):
    code = "dimensions_too_small"

    def __init__(self, min_side: int) -> None:
        super().__init__(f"Image dimensions too small (min {min_side}x{min_side})")


class ImageTruncated(ImageError):
    code = "image_truncated"

    def __init__(self) -> None:
        super().__init__("Image is incomplete: its data ends too soon")


class ImageCorrupt(ImageError):
    code = "image_corrupt"

    def __init__(self) -> None:
        super().__init__("Image is damaged and cannot be read")


class TooComplex(ImageError):
    """Within all limits of size, and yet more work than a picture may make."""

    code = "image_too_complex"

    def __init__(self) -> None:
        super().__init__("Image is too complex: it is made of too many parts")


class UnknownForeground(ImageError):
    """`confidence`: what was found instead, as `matte.confidence_of` says it; None where that is not why."""

    code = "unknown_foreground"

    def __init__(self, confidence: float | None = None) -> None:
        self.confidence = confidence
        super().__init__("No clear subject found in the image")


class RoiExceedsBounds(ImageError):
    code = "roi_exceeds_bounds"

    def __init__(self) -> None:
        super().__init__("The region of interest exceeds the bounds of the image.")


class RoiEmpty(ImageError):
    code = "roi_region_empty"

    def __init__(self) -> None:
        super().__init__("The region of interest is empty: its second corner has to lie right of and below its first.")


class EngineUnavailable(Exception):
    """The engine or the device that was asked for is not on this machine. Nor is that a picture's fault."""

    code = "engine_unavailable"


class ModelUnavailable(Exception):
    """The weights are missing or unfit. No picture's fault, and so no `ImageError`."""

    code = "model_unavailable"


def last_line(error: Exception) -> str:
    """What an error says. OpenVINO begins with the lines of its own source that it passed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Whether a library says, each in its own way, what Python says by `MemoryError`."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _OUT_OF_MEMORY)


def _apart(size_bytes: int, max_bytes: int) -> tuple[str, str]:
    """Both sizes in MB, with as many decimals (one, or more) as it takes to read the first as the larger."""
    for decimals in range(1, 7):
        size, limit = _megabytes(size_bytes, decimals), _megabytes(max_bytes, decimals)
        if float(size) > float(limit):
            return f"{size}MB", f"{limit}MB"
    return f"{size_bytes} bytes", f"{max_bytes} bytes"


def _megabytes(count: int, decimals: int) -> str:
    """Rounded up, so that one byte over a limit never reads as the limit; whole numbers without a point."""
    scale = 10**decimals
    return f"{math.ceil(count * scale / MEBIBYTE) / scale:.{decimals}f}".rstrip("0").rstrip(".")
