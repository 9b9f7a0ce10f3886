"""Losses on their way back from the devices."""

from collections import deque

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.runtime.errors import DistaxError
from distax.training.config import TrainConfig
from distax.training.reporting import Reporter


class LossLog:
    """Reads what dispatched steps return while newer ones keep the devices busy.

    Args:
      config: the run's.
      report: where mean losses and speeds go.
      where: the run, for error messages.
    """

    def __init__(self, config: TrainConfig, report: Reporter, where: str):
        self._config, self._report, self._where = config, report, where
        self._waiting: deque[tuple[range, Array, Array | np.ndarray]] = deque()
        self._read: list[float] = []

    def add(
        self, span: range, losses: Float[Array, " steps"], stop: Bool[Array | np.ndarray, ""]
    ) -> None:
        """Note steps just dispatched, and whether any process was asked to stop before them."""
        self._waiting.append((span, losses, stop))

    def read(self, keep: int) -> bool:
        """Wait for all but the newest `keep` dispatches; log what is due.

        Returns:
          Whether to stop: the same on every process after the same steps.

        Raises:
          DistaxError: a loss is not finite.
        """
        stopping = False
        while len(self._waiting) > keep:
            span, losses, stop = self._waiting.popleft()
            self._check(span, values := np.asarray(jax.device_get(losses)))
            self._read.extend(values.tolist())
            if self._config.logs_at(span.stop):
                self.flush(span.stop)
            stopping |= bool(stop)
        return stopping

    def flush(self, done: int) -> None:
        """Log the mean over the steps read since the last line, if there are any."""
        if self._read:
            speed = self._report.images_per_second(done, self._config.batch_size)
            self._report.log(done, loss=float(np.mean(self._read)), images_per_second=speed)
            self._read.clear()

    def _check(self, span: range, values: np.ndarray) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            raise DistaxError(
                f"{self._where}: the loss is {values[first]} at step {span[first] + 1}; the last "
                "good checkpoint is kept: lower the learning rate or look at the data"
            )
