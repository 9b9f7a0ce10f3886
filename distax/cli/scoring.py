"""Scoring of an unmixer, with images that are read, unmixed and scored in parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from distax.evaluation import Evaluation
from distax.evaluation.assessment import assess_rows, evaluate_rows
from distax.evaluation.devices import Rows
from distax.fitting.misfit import warn_of_misfits
from distax.imaging.targets import Targets
from distax.runtime.ahead import map_ahead
from distax.runtime.progress import PatientBar
from distax.shards.portions import devices_in_turn, unmix_on
from distax.unmixer import Unmixer


@dataclass(frozen=True)
class DatasetRows(Rows):
    """The first images of a split of CSIST-100K, with their true targets.

    Attributes:
      source: the split's records.
      count: number of images.
    """

    source: Sequence[Any]
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> tuple[Float[np.ndarray, "N height width"], Targets]:
        from distax.datasets import csist100k

        return csist100k.read_rows(self.source, start, stop)


@dataclass(frozen=True)
class FoundRows(Rows):
    """The targets that an unmixer finds in images, with the true ones.

    Attributes:
      unmixer: the unmixer.
      images: images and true targets.
      progress: bar that counts images.
      misfits: misfits of the images so far.
    """

    unmixer: Unmixer
    images: Rows
    progress: PatientBar
    misfits: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> tuple[Targets, Targets]:
        images, truth = self.images.read(start, stop)
        found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *self._found(images))
        if found.misfit is not None:
            self.misfits.append(found.misfit)
        self.progress.update(stop)
        return found, truth

    def _found(self, images: Float[np.ndarray, "N height width"]) -> Iterator[Targets]:
        """Yields the targets of portions, which the local devices take in turn."""
        size, devices = self.unmixer.portion_size, devices_in_turn()
        portions = (images[first : first + size] for first in range(0, len(images), size))
        yield from map_ahead(
            lambda turn: unmix_on(turn[0], self.unmixer, turn[1]),
            zip(cycle(devices), portions, strict=False),
            len(devices),
        )


def score(unmixer: Unmixer, images: Rows) -> Evaluation:
    """Scores an unmixer; for a grid model, scores the grids as well.

    Args:
      unmixer: the unmixer.
      images: images that its sensor has taken, with their true targets.
    """
    sensor, prior = unmixer.sensor, unmixer.prior
    if unmixer.model is not None:
        return evaluate_rows(unmixer.model, images, sensor, unmixer.threshold, prior=prior)
    with PatientBar("image", len(images)) as progress:
        found = FoundRows(unmixer, images, progress)
        result = assess_rows(found, sensor, prior)
    if found.misfits:
        warn_of_misfits(np.concatenate(found.misfits))
    return result
