"""Our side of the library's bench: the imaging pipeline as a worker's child runs it."""

import time
from pathlib import Path

import cv2
import numpy as np

from app.core.capacity import Capacity
from app.embedded.stack import model_cache_dir
from app.imaging.engines.base import INPUT_SHAPE
from app.imaging.engines.choice import load
from app.imaging.errors import ImageError
from app.imaging.limits import ImageLimits
from app.imaging.pipeline import CutoutOptions, cut_out
from app.imaging.weights import FILE_NAME
from scripts.bench.sides import serve

VARIANTS = {
    "quickbg": CutoutOptions(),
    "quickbg-untrimmed": CutoutOptions(trim=False),
    "quickbg-norefine": CutoutOptions(refine=False),
    "quickbg-best": CutoutOptions(quality="best"),
}
"""By the names that they have in the results."""


def main() -> None:
    cv2.setNumThreads(1)
    threads = Capacity.of_this_machine().threads
    engine, reason = load("auto", model_cache_dir() / FILE_NAME, threads, model_cache_dir())
    engine.infer(np.zeros(INPUT_SHAPE, np.float32))

    def answer(question: dict[str, str]) -> dict[str, object]:
        picture = Path(question["picture"])
        data = picture.read_bytes()
        begun = time.perf_counter()
        try:
            cutout = cut_out(data, engine, VARIANTS[question["variant"]], ImageLimits())
        except ImageError as error:
            raise ValueError(f"{picture.name}: {error}") from error
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "bytes": len(cutout.data), "stages": cutout.stage_seconds}

    serve({"engine": engine.name, "precision": engine.precision, "reason": reason, "threads": threads}, answer)


if __name__ == "__main__":
    main()
