"""The dataset's configurations. A name says all that the sequences depend on."""

import dataclasses

from distax.datasets.simulation import SimulatedSizes, find_config


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedConfig(SimulatedSizes):
    """Sequences made from the imaging model and the default motion prior.

    The defaults are SeqCSIST's sizes: 70,000, 15,000 and 15,000 frames in sequences of 20.
    """

    train: int = 3_500
    validation: int = 750
    test: int = 750


PREDEFINED: dict[str, SimulatedConfig] = {"simulated": SimulatedConfig()}


def get_config(config: str | SimulatedConfig) -> SimulatedConfig:
    """The configuration that a name means, or the given one as TFDS wants it.

    Raises:
      DistaxError: no configuration has that name.
    """
    return find_config(config, PREDEFINED, SimulatedConfig, "SeqCSIST")
