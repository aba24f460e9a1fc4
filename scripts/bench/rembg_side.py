"""rembg's side of the library's bench; runs in rembg's own environment.

Its steps are timed around its own functions, under the names that ours have: "inferring" is its whole `predict`, which
also shrinks the picture and enlarges the mask.
"""

import io
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import rembg.bg
from PIL import Image

from scripts.bench.sides import serve

MODEL = "isnet-general-use"

seconds: defaultdict[str, float] = defaultdict(float)


def time_step(owner: Any, name: str, step: str) -> None:
    """Have the time of each call of a function or method added to `seconds`."""
    original = getattr(owner, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            seconds[step] += time.perf_counter() - begun

    setattr(owner, name, timed)


def main() -> None:
    session = rembg.bg.new_session(MODEL)
    # A step is one call each; Pillow decodes when the orientation is looked at.
    time_step(rembg.bg, "fix_image_orientation", "decoding")
    time_step(session, "predict", "inferring")
    time_step(rembg.bg, "naive_cutout", "refining")
    time_step(Image.Image, "save", "encoding")

    def answer(question: dict[str, str]) -> dict[str, object]:
        data = Path(question["picture"]).read_bytes()
        seconds.clear()
        begun = time.perf_counter()
        result = rembg.bg.remove(data, session=session)
        whole = time.perf_counter() - begun
        return {"seconds": whole, "bytes": len(result), "stages": dict(seconds)}

    blank = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(blank, "PNG")
    rembg.bg.remove(blank.getvalue(), session=session)  # the first run allocates
    serve({}, answer)


if __name__ == "__main__":
    main()
