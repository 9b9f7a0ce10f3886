"""The dataset's configurations. A name says all that the images depend on."""

import dataclasses
import re

import tensorflow_datasets as tfds

from distax.errors import DistaxError, check_positive, unknown


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedConfig(tfds.core.BuilderConfig):
    """Images made from the imaging model and CSIST-100K's placement law.

    The name is `simulated` for the benchmark's sizes and seed 0, otherwise
    `simulated_seed<seed>_<train>_<validation>_<test>`, so that no two share a folder.

    Attributes:
      seed: random seed, below 2**32.
      train, validation, test: number of images in each split.

    Raises:
      DistaxError: a seed out of range or an empty split.
    """

    name: str = dataclasses.field(init=False)
    seed: int = 0
    train: int = 80_000
    validation: int = 10_000
    test: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:  # jax.random.key would drop the higher bits
            raise DistaxError(f"seed must be from 0 to 2**32 - 1, got {self.seed}")
        check_positive(**self.sizes)
        values = (self.seed, *self.sizes.values())
        benchmark = values == (0, 80_000, 10_000, 10_000)
        self.name = "simulated" if benchmark else "simulated_seed{}_{}_{}_{}".format(*values)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images in each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclasses.dataclass(eq=False, kw_only=True)
class ReleasedConfig(tfds.core.BuilderConfig):
    """The published images and annotations, read from TFDS's `manual_dir`."""

    name: str = dataclasses.field(init=False, default="released")


Config = SimulatedConfig | ReleasedConfig

# TFDS wants these very objects, not equal ones, wherever their names are used.
PREDEFINED: dict[str, Config] = {
    config.name: config for config in (SimulatedConfig(), ReleasedConfig())
}


def get_config(config: str | Config) -> Config:
    """The configuration that a name means, or the given one as TFDS wants it.

    Raises:
      DistaxError: no configuration has that name.
    """
    if isinstance(config, str):
        sized = re.fullmatch(r"simulated_seed(\d+)_(\d+)_(\d+)_(\d+)", config)
        if sized:
            seed, train, validation, test = map(int, sized.groups())
            config = SimulatedConfig(seed=seed, train=train, validation=validation, test=test)
        elif config in PREDEFINED:
            return PREDEFINED[config]
        else:
            pattern = "simulated_seed<seed>_<train>_<validation>_<test>"
            raise unknown("CSIST-100K configuration", config, [*PREDEFINED, pattern])
    return PREDEFINED.get(config.name, config)
