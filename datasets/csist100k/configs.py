"""Configurations of the dataset; a name determines the images."""

import dataclasses

from distax.datasets.simulation import SimulatedSizes, find_config
from distax.datasets.storage import ReleasedConfig


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedConfig(SimulatedSizes):
    """Images simulated with the imaging model and CSIST-100K's scene prior.

    The defaults are the benchmark's sizes.
    """

    train: int = 80_000
    validation: int = 10_000
    test: int = 10_000


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
