"""The networks besides the server's own: loaded when a task asks for one, and one of them held at a time."""

from collections.abc import Callable, Collection
from functools import partial
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from app.core.errors import AppError
from app.core.logging import get_logger
from app.imaging.engines.base import Engine
from app.imaging.errors import EngineUnavailable, ModelUnavailable, is_out_of_memory
from app.imaging.isnet import preprocess
from app.imaging.models import MODELS, ModelEntry
from app.imaging.pipeline import Prepare

Blob = npt.NDArray[np.float32]

log = get_logger(__name__)


class ModelNotReady(AppError):
    """The model that was asked for cannot be used here just now; another worker may have it, or this one later."""

    code = "model_unavailable"
    retryable = True


def _none(entry: ModelEntry) -> NoReturn:
    raise ModelUnavailable(f"The model {entry.name} cannot be loaded here")


class OtherModels:
    """What `EXTRA_MODELS` names. It belongs to one thread."""

    def __init__(self, enabled: Collection[str] = (), load: Callable[[ModelEntry], Engine] = _none) -> None:
        """`load`: raises `ModelUnavailable`, `EngineUnavailable`, or what a library says when memory is out."""
        self._enabled, self._load = frozenset(enabled), load
        self._held: tuple[str, Engine] | None = None

    def find(self, name: str) -> tuple[Engine, Prepare]:
        """The engine, which loads its network when it is first run, and what that one wants to see.

        Raises:
            ModelNotReady: it is switched off.
        """
        if name not in self._enabled:
            raise ModelNotReady(f"The model {name} is not switched on where the image was worked on (EXTRA_MODELS).")
        entry = MODELS[name]
        return _Late(partial(self._run, entry)), partial(preprocess, side=entry.side, mean=entry.mean, std=entry.std)

    def _run(self, entry: ModelEntry, blob: Blob) -> Blob:
        try:
            raw = self._engine(entry).infer(blob)
        except (ModelUnavailable, EngineUnavailable) as error:
            if not is_out_of_memory(error):
                log.error("model_not_loaded", model=entry.name, reason=str(error))  # with paths, which are ours alone
                raise ModelNotReady(f"The model {entry.name} is not ready on this server.") from error
            self._give_up(entry, error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._give_up(entry, error)
        # As rembg's `BiRefNetSessionGeneral` has it; this form of a sigmoid never overflows.
        return np.float32(0.5) * (np.tanh(np.float32(0.5) * raw) + np.float32(1)) if entry.logits else raw

    def _engine(self, entry: ModelEntry) -> Engine:
        if self._held is None or self._held[0] != entry.name:
            self._held = None  # before the next one is loaded: there is no room for two
            engine = self._load(entry)
            log.info("model_loaded", model=entry.name, engine=engine.name, precision=engine.precision)
            self._held = entry.name, engine
        return self._held[1]

    def _give_up(self, entry: ModelEntry, error: Exception) -> NoReturn:
        self._held = None
        raise ModelNotReady(
            f"The model {entry.name} does not fit into the memory that a worker process may take "
            "(WORKER_MEMORY_LIMIT_BYTES)."
        ) from error


class _Late:
    """An `Engine` whose network is loaded when it is first run: a matte that was kept needs none."""

    name, precision = "onnxruntime", "fp32"

    def __init__(self, infer: Callable[[Blob], Blob]) -> None:
        self._infer = infer

    def infer(self, blob: Blob) -> Blob:
        return self._infer(blob)
