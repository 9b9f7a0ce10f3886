"""The simulated images: the placement law sampled, rendered and exposed."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from distax.datasets.csist100k.configs import SimulatedConfig
from distax.datasets.csist100k.record import Record, make_record
from distax.scenes import simulate
from distax.targets import Targets

BATCH = 1000  # Part of the recipe: another value gives other images.


def records(config: SimulatedConfig, split: str) -> Iterator[tuple[int, Record]]:
    """Keys and records of a split. Record i depends on the seed, the split and i alone."""
    for index in range(config.sizes[split]):
        if index % BATCH == 0:
            images, targets = _batch(config, split, index // BATCH)
        here = index % BATCH
        count = int(targets.mask[here].sum())
        position = np.asarray(targets.position[here, :count])
        intensity = np.asarray(targets.intensity[here, :count])
        yield index, make_record(index, images[here], position, intensity)


def _batch(
    config: SimulatedConfig, split: str, number: int
) -> tuple[UInt8[np.ndarray, "batch height width"], Targets]:
    """Images and targets `[BATCH, ...]` of one batch, as NumPy arrays."""
    # On the CPU even beside an accelerator, so that every machine makes the same dataset.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        split_key = jax.random.fold_in(jax.random.key(config.seed), list(config.sizes).index(split))
        images, targets = simulate(jax.random.fold_in(split_key, number), BATCH)
        return jax.device_get((images.astype(jnp.uint8), targets))
