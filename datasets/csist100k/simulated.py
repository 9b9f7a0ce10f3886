"""The simulated images: the scene prior sampled, rendered and exposed."""

from collections.abc import Iterator

from distax.datasets.csist100k.configs import SimulatedConfig
from distax.datasets.csist100k.record import make_record
from distax.datasets.simulation import simulated
from distax.datasets.storage import Record
from distax.imaging.scenes import simulate

BATCH = 1000  # Part of the recipe: another value gives other images.


def records(config: SimulatedConfig, split: str) -> Iterator[tuple[int, Record]]:
    """Keys and records of a split. Record i depends on the seed, the split and i alone."""
    for index, (image, targets) in enumerate(simulated(config, split, simulate, BATCH)):
        mask = targets.mask
        yield index, make_record(index, image, targets.position[mask], targets.intensity[mask])
