"""Simulated datasets: configurations by seed and sizes, and reproducible records."""

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
from distax.runtime.errors import check_at_most, check_positive, check_seed, unknown

NAME_PATTERN = "simulated_seed<seed>_<train>_<validation>_<test>"

_MOST = 10**9
"""Largest size of a split. So many records take more than a day to simulate."""

Simulate = Callable[[PRNGKeyArray, int], tuple[Array, Targets]]
"""Function from a key and a number of records to their pixels in counts and their targets."""


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatedSizes(tfds.core.BuilderConfig):
    """A seed and the sizes of the splits.

    The name is `simulated` for the defaults, otherwise
    `simulated_seed<seed>_<train>_<validation>_<test>`, so that every configuration has a folder of
    its own.

    Attributes:
      seed: random seed, below 2**32.
      train, validation, test: number of records in each split.

    Raises:
      DistaxError: the seed is out of range, or a split is empty or has more than 10⁹ records.
    """

    name: str = dataclasses.field(init=False)
    seed: int = 0
    train: int
    validation: int
    test: int

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_positive(**self.sizes)
        check_at_most("records", **{split: (size, _MOST) for split, size in self.sizes.items()})
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
    def from_name(cls, name: str) -> "SimulatedSizes | None":
        """Parses a name with a seed and sizes; returns None for names of another form."""
        match = re.fullmatch(r"simulated_seed(\d+)_(\d+)_(\d+)_(\d+)", name)
        if match is None:
            return None
        seed, train, validation, test = map(int, match.groups())
        return cls(seed=seed, train=train, validation=validation, test=test)


def find_config(
    config: str | tfds.core.BuilderConfig,
    predefined: Mapping[str, tfds.core.BuilderConfig],
    sized: type[SimulatedSizes],
    title: str,
) -> Any:
    """Finds a configuration by its name, or returns the given configuration.

    If `config` has a predefined name, the predefined object is returned: TFDS accepts only the
    objects in BUILDER_CONFIGS under their names.

    Args:
      config: a configuration or its name.
      predefined: the builder's configurations by name.
      sized: class of the configurations whose name gives seed and sizes.
      title: name of the dataset in error messages.

    Returns:
      The predefined configuration of that name, or else the one given or parsed.

    Raises:
      DistaxError: no configuration has that name.
    """
    if isinstance(config, str):
        name = config
        config = predefined.get(name) or sized.from_name(name)
        if config is None:
            raise unknown(f"{title} configuration", name, [*predefined, NAME_PATTERN])
    return predefined.get(config.name, config)


def simulate_records(
    config: SimulatedSizes, split: str, simulate: Simulate, batch: int
) -> Iterator[tuple[UInt8[np.ndarray, "..."], Targets]]:
    """Simulates the pixels and targets of a split, record by record, as NumPy arrays.

    Record i depends only on the seed, the split, i and `batch`.

    Args:
      config: seed and sizes.
      split: name of the split.
      simulate: simulator of the pixels `[records, ...]` and the targets.
      batch: records simulated at once. Changing it changes the records.

    Yields:
      The pixels of a record in whole counts, without the axis of records, and its targets.
    """
    for index in range(config.sizes[split]):
        if index % batch == 0:
            records = _simulate_batch(config, split, simulate, index // batch, batch)
        yield jax.tree.map(lambda leaf, row=index % batch: leaf[row], records)


def _simulate_batch(
    config: SimulatedSizes, split: str, simulate: Simulate, number: int, size: int
) -> Any:
    """Simulates pixels and targets `[size, ...]` of one batch."""
    # Always on the CPU, so that every machine makes the same dataset.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        split_key = jax.random.fold_in(jax.random.key(config.seed), list(config.sizes).index(split))
        pixels, targets = simulate(jax.random.fold_in(split_key, number), size)
        return jax.device_get((pixels.astype(jnp.uint8), targets))
