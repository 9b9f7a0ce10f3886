"""Configurations of the dataset; a name determines the images."""

import dataclasses

import tensorflow_datasets as tfds

from distax.datasets.simulation import SimulatedSizes, find_config


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedConfig(SimulatedSizes):
    """Images simulated with the imaging model and CSIST-100K's scene prior.

    The defaults are the benchmark's sizes.
    """

    train: int = 80_000
    validation: int = 10_000
    test: int = 10_000


@dataclasses.dataclass(eq=False, kw_only=True)
class ReleasedConfig(tfds.core.BuilderConfig):
    """The published images and annotations, read from TFDS's `manual_dir`."""

    name: str = dataclasses.field(init=False, default="released")


Config = SimulatedConfig | ReleasedConfig

PREDEFINED: dict[str, Config] = {
    config.name: config for config in (SimulatedConfig(), ReleasedConfig())
}


def get_config(config: str | Config) -> Config:
    """Returns a configuration by its name, or the given configuration as TFDS expects it.

    Raises:
      DistaxError: no configuration has that name.
    """
    return find_config(config, PREDEFINED, SimulatedConfig, "CSIST-100K")
