"""What remove.bg's address answers when all is well: the picture itself, or as base64 in JSON, and its headers."""

import base64
import math
import sys
from collections.abc import Iterator

from fastapi import Request
from fastapi.responses import StreamingResponse

from app.api.bodies import JSON
from app.api.compat.removebg_fields import PNG_CAP
from app.api.finishing import as_it_is, pieces
from app.core.measures import CAPS, read_padding
from app.db.models import Task
from app.services.status import Picture

PIECE = 3 * 16_384  # bytes; in threes, which base64 makes four of
LARGEST = "50MP"
CHARGED = "1"  # whole credits for any picture: there are clients that read nothing else
# Instead of which JSON may be sent. A range of all is what programs name that take anything, as axios does.
OTHERS = ("image/", "application/zip", "application/octet-stream", "*/")


def wants_json(request: Request) -> bool:
    """Whether the caller has named JSON, and would rather have it than a picture."""
    ranked = [_ranked(part) for part in ",".join(request.headers.getlist("accept")).lower().split(",")]
    json = max((quality for kind, quality in ranked if kind == JSON), default=0.0)
    others = max((quality for kind, quality in ranked if kind.startswith(OTHERS)), default=0.0)
    return json > others


def _ranked(part: str) -> tuple[str, float]:
    kind, *parameters = (each.strip() for each in part.split(";"))
    written = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        quality = float(written)
    except ValueError:
        quality = 0.0
    return kind, quality if 0 <= quality <= 1 else 0.0


def answer(found: Picture, task: Task, *, as_json: bool) -> StreamingResponse:
    """The result of a completed task."""
    return _json(found, task) if as_json else as_it_is(found)


def _json(found: Picture, task: Task) -> StreamingResponse:
    places = ",".join(f'"foreground_{name}":{value}' for name, value in _foreground(task).items())
    head, tail = b'{"data":{"result_b64":"', f'",{places}}}}}'.encode()
    length = len(head) + 4 * math.ceil(found.size_bytes / 3) + len(tail)

    def body() -> Iterator[bytes]:
        yield head
        yield from map(base64.b64encode, pieces(found.file, PIECE))
        yield tail

    return StreamingResponse(body(), media_type=JSON, headers={"Content-Length": str(length)})


def headers(task: Task, kind: str | None) -> dict[str, str]:
    """Of the result of a completed task. `kind`: of subject, if that is said."""
    width, height = largest(task)
    told: dict[str, object] = {
        "X-Width": task.result_width,
        "X-Height": task.result_height,
        "X-Max-Width": width,
        "X-Max-Height": height,
        "X-Credits-Charged": CHARGED,
        **{f"X-Foreground-{name.capitalize()}": value for name, value in _foreground(task).items()},
        **({} if kind is None else {"X-Type": kind}),
    }
    return {name: str(value) for name, value in told.items()}


def _foreground(task: Task) -> dict[str, int]:
    """The subject's box in the result."""
    left, top, width, height = task.result_box or (0, 0, 0, 0)
    return {"top": top, "left": left, "width": width, "height": height}


def _cropped(task: Task) -> tuple[int, int]:
    """The subject with its margin, in the original, as far as that goes."""
    left, top, width, height = task.subject_box or (0, 0, 1, 1)
    margin = zip(read_padding(str(task.options["padding"])) or (), (height, width, height, width), strict=True)
    above, right, below, before = (
        round(length.value * side / 100 if length.percent else length.value) for length, side in margin
    )
    across = min(task.upload.width or sys.maxsize, left + width + right) - max(0, left - before)
    return across, min(task.upload.height or sys.maxsize, top + height + below) - max(0, top - above)


def largest(task: Task) -> tuple[int, int]:
    """The width and height that the largest `size` would have given this result.

    A result in the picture's own frame would have that frame's. One with a shadow that is cut down to the subject would
    be so many times as large as the subject is in the original: to the pixel, unless the result is smaller than that.
    """
    width, height = task.result_width or 1, task.result_height or 1
    if not task.options.get("trim"):
        most = task.upload.width or width, task.upload.height or height
    elif task.options.get("shadow", "none") == "none":
        most = _cropped(task)
    else:
        now, before = (max(box[2:]) if box else 1 for box in (task.result_box, task.subject_box))
        most = round(width * before / now), round(height * before / now)
    cap = CAPS[PNG_CAP if task.options.get("format") in {"png", "auto"} else LARGEST] * 1_000_000
    less = min(1.0, math.sqrt(cap / (most[0] * most[1])))
    return max(width, int(most[0] * less)), max(height, int(most[1] * less))
