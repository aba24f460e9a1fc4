"""What a network runtime must do for us."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

INPUT_SHAPE = (1, 3, 1024, 1024)
OUTPUT_SHAPE = (1, 1, 1024, 1024)
NOT_ISNET = "The model is not IS-Net: it needs one input 1x3x1024x1024 and an output 1x1x1024x1024"


class Engine(Protocol):
    """Runs IS-Net on one prepared picture. One engine belongs to one thread at a time.

    `name`: the runtime. `precision`: what it computes in: "bf16", "fp32" …
    """

    name: str
    precision: str

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The raw sigmoid output.

        Args:
            blob: float32, 1 x 3 x 1024 x 1024, as `isnet.preprocess` makes it.

        Returns:
            float32, 1024 x 1024, in 0..1; the caller's own.
        """
        ...
