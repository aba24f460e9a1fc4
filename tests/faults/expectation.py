"""What each picture has to become: the pipeline, run right here with the service's own engine and options."""

import functools
import hashlib
from collections.abc import Callable

import cv2

from app.core.capacity import Capacity
from app.core.config import Settings
from app.core.options import read_options
from app.imaging.engines.choice import load
from app.imaging.pipeline import cut_out
from app.imaging.weights import where_weights_are
from app.services.about import image_limits
from app.services.composing import cutout_options
from tests.faults.client import DIFFERENT, OPTIONS, picture


def expectation(settings: Settings) -> Callable[[int], str]:
    """The SHA-256 of a picture's result, by the number of the picture."""
    cv2.setNumThreads(1)
    weights = where_weights_are(settings.model_cache_dir, settings.model_path)
    threads = Capacity.of_this_machine(settings.worker_concurrency).threads
    engine, _ = load(settings.engine, weights, threads, settings.model_cache_dir)
    options = cutout_options(read_options(OPTIONS), settings)

    @functools.cache
    def of_different(number: int) -> str:
        made = cut_out(picture(number), engine, options, image_limits(settings))
        return hashlib.sha256(made.data).hexdigest()

    return lambda number: of_different(number % DIFFERENT)
