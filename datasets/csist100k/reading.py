"""Opening a built dataset, and reading a whole split into arrays."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distax.datasets.csist100k.builder import Csist100k
from distax.datasets.csist100k.configs import Config, get_config
from distax.datasets.csist100k.record import Record, record_to_example
from distax.errors import DistaxError
from distax.targets import Targets

CHUNK = 1000


def dataset_folder(config: Config, data_dir: Path) -> Path:
    """The folder in which TFDS keeps the configuration's files."""
    return data_dir / Csist100k.name / config.name / str(Csist100k.VERSION)


def open_split(
    config: str | Config, split: str, data_dir: str | os.PathLike[str]
) -> Sequence[Record]:
    """Random access to the records of a split; can be pickled, as grain's workers need.

    Args:
      config: a configuration or its name.
      split: `train`, `validation`, `test`, or TFDS's notation for a part such as `train[:1000]`.
      data_dir: the folder given to `build`.

    Raises:
      DistaxError: the configuration or the split is unknown, or the dataset is not built there or
        damaged.
    """
    config = get_config(config)
    data_dir = Path(data_dir).expanduser()
    folder = dataset_folder(config, data_dir)
    command = f"`distax build-dataset {config.name} --data-dir {data_dir}`"
    if not folder.is_dir():
        raise DistaxError(f"CSIST-100K {config.name} is not built in {data_dir}: run {command}")
    damaged = f"the dataset in {folder} is damaged: delete that folder and run {command}"
    try:
        builder = Csist100k(config=config, data_dir=data_dir)
        known = ", ".join(builder.info.splits)
    except Exception as error:  # TFDS raises whatever its parsers meet
        raise DistaxError(damaged) from error
    if not known:
        raise DistaxError(damaged)
    try:
        source = builder.as_data_source(split)
    except Exception as error:
        raise DistaxError(f"unknown or empty split {split!r}: known are {known}") from error
    try:
        # The end first, because a file cut short has lost its end.
        _ = source[len(source) - 1], source[0]
    except Exception as error:
        raise DistaxError(damaged) from error
    return source


def read_split(source: Sequence[Record]) -> tuple[Float[np.ndarray, "N height width"], Targets]:
    """All images and targets of a split.

    Args:
      source: as `open_split` returns it.

    Returns:
      Images in sensor counts as float32, and Targets `[N, 5]` of NumPy arrays.

    Raises:
      DistaxError: a record cannot be read.
    """
    chunks = [_read(source, start) for start in range(0, len(source), CHUNK)]
    stacked = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return record_to_example(stacked)


def _read(source: Any, start: int) -> dict[str, np.ndarray]:
    """Fields of up to `CHUNK` records, stacked."""
    stop = min(start + CHUNK, len(source))
    try:
        rows = source.__getitems__(range(start, stop))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    except Exception as error:  # ArrayRecord raises whatever its reader meets
        raise DistaxError(
            f"records {start} to {stop - 1} of {source.split} in {source.dataset_info.data_dir} "
            "cannot be read: delete that folder and build the dataset again"
        ) from error
