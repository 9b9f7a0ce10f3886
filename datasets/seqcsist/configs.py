"""Configurations of the dataset. The name of one determines its sequences."""

import dataclasses

from distax.datasets.simulation import SimulatedSizes, find_config
from distax.datasets.storage import ReleasedConfig


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedConfig(SimulatedSizes):
    """Sequences simulated with the imaging model and `imaging.motion.SEQCSIST`.

    The defaults are SeqCSIST's sizes: 70,000, 15,000 and 15,000 frames in sequences of 20.
    """

    train: int = 3_500
    validation: int = 750
    test: int = 750


Config = SimulatedConfig | ReleasedConfig

PREDEFINED: dict[str, Config] = {
    config.name: config for config in (SimulatedConfig(), ReleasedConfig())
}


def get_config(config: str | Config) -> Config:
    """Returns a configuration by its name, or the given configuration as TFDS expects it.

    Raises:
      DistaxError: no configuration has that name.
    """
    return find_config(config, PREDEFINED, SimulatedConfig, "SeqCSIST")
