"""CSIST-100K on disk."""

from pathlib import Path

from distax.datasets.csist100k.builder import Csist100k
from distax.datasets.csist100k.configs import Config, ReleasedConfig, get_config
from distax.datasets.csist100k.record import record_to_example
from distax.datasets.csist100k.released import FOLDERS
from distax.datasets.storage import Dataset, Folder
from distax.runtime.errors import DistaxError

DATASET = Dataset(
    builder=Csist100k,
    title="CSIST-100K",
    prefix="",
    get_config=get_config,
    record_to_example=record_to_example,
)


def build(config: str | Config, data_dir: Folder, manual_dir: Folder | None = None) -> Path:
    """Builds the dataset as `Dataset.build` does; `manual_dir` holds the files for `released`.

    Raises:
      DistaxError: as there, or the published files are missing or unusable.
    """
    config = get_config(config)
    if isinstance(config, ReleasedConfig) and not DATASET.folder(config, data_dir).exists():
        _check_manual_dir(manual_dir)
    return DATASET.build(config, data_dir, manual_dir)


def _check_manual_dir(manual_dir: Folder | None) -> None:
    if manual_dir is None:
        found = "no manual directory was given"
    elif not any((Path(manual_dir).expanduser() / name).is_dir() for name in FOLDERS.values()):
        found = f"{manual_dir} holds none of them"
    else:
        return
    raise DistaxError(
        f"the released CSIST-100K is read from a folder that holds train/, val/ and test/, but "
        f"{found}: download the dataset, unpack it and name that folder, or build `simulated`"
    )
