"""What simulated datasets share: configurations whose names say all, and records in batches."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, PRNGKeyArray, UInt8

from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError, check_positive, unknown

NAME_PATTERN = "simulated_seed<seed>_<train>_<validation>_<test>"

Simulate = Callable[[PRNGKeyArray, int], tuple[Array, Targets]]


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedSizes(tfds.core.BuilderConfig):
    """A seed and the sizes of the splits.

    The name is `simulated` for the defaults, otherwise
    `simulated_seed<seed>_<train>_<validation>_<test>`, so that no two share a folder.

    Attributes:
      seed: random seed, below 2**32.
      train, validation, test: number of records in each split.

    Raises:
      DistaxError: a seed out of range or an empty split.
    """

    name: str = dataclasses.field(init=False)
    seed: int = 0
    train: int
    validation: int
    test: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:  # jax.random.key would drop the higher bits
            raise DistaxError(f"seed must be from 0 to 2**32 - 1, got {self.seed}")
        check_positive(**self.sizes)
        values = {"seed": self.seed, **self.sizes}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        benchmark = all(defaults[name] == value for name, value in values.items())
        numbers = "_".join(map(str, values.values()))
        self.name = "simulated" if benchmark else f"simulated_seed{numbers}"

    @property
    def sizes(self) -> dict[str, int]:
        """Number of records in each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @classmethod
    def named(cls, name: str) -> "SimulatedSizes | None":
        """The configuration whose name spells out its seed and sizes; None for other names."""
        sized = re.fullmatch(r"simulated_seed(\d+)_(\d+)_(\d+)_(\d+)", name)
        if sized is None:
            return None
        seed, train, validation, test = map(int, sized.groups())
        return cls(seed=seed, train=train, validation=validation, test=test)


def find_config(
    config: str | tfds.core.BuilderConfig,
    predefined: Mapping[str, tfds.core.BuilderConfig],
    sized: type[SimulatedSizes],
    title: str,
) -> Any:
    """The configuration of the dataset `title` that a name means, or the given one.

    A predefined one if it has the same name, as TFDS wants these very objects wherever their
    names are used.

    Raises:
      DistaxError: no configuration has that name.
    """
    if isinstance(config, str):
        name = config
        config = predefined.get(name) or sized.named(name)
        if config is None:
            raise unknown(f"{title} configuration", name, [*predefined, NAME_PATTERN])
    return predefined.get(config.name, config)


def simulated(
    config: SimulatedSizes, split: str, simulate: Simulate, batch: int
) -> Iterator[tuple[UInt8[np.ndarray, "..."], Targets]]:
    """Pixels and targets of a split, one record after the other, as NumPy arrays.

    Record i depends on the seed, the split and i alone, and on `batch`, which is part of the
    recipe: another number gives other records.
    """
    for index in range(config.sizes[split]):
        if index % batch == 0:
            records = _batch(config, split, simulate, index // batch, batch)
        yield jax.tree.map(lambda leaf, row=index % batch: leaf[row], records)


def _batch(config: SimulatedSizes, split: str, simulate: Simulate, number: int, size: int) -> Any:
    """Pixels and targets `[size, ...]` of one batch."""
    # On the CPU even beside an accelerator, so that every machine makes the same dataset.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        split_key = jax.random.fold_in(jax.random.key(config.seed), list(config.sizes).index(split))
        pixels, targets = simulate(jax.random.fold_in(split_key, number), size)
        return jax.device_get((pixels.astype(jnp.uint8), targets))
