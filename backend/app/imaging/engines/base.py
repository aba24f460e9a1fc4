"""What a network runtime must do for us."""

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Engine(Protocol):
    """Runs IS-Net on one prepared picture. One engine belongs to one thread at a time."""

    name: str

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The raw sigmoid output.

        Args:
            blob: float32, 1 x 3 x 1024 x 1024, as `isnet.preprocess` makes it.

        Returns:
            float32, 1024 x 1024, in 0..1.
        """
        ...
