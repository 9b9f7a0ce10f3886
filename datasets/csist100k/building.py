"""Building the dataset in a folder."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import tensorflow_datasets as tfds

from distax.datasets.csist100k.builder import Csist100k
from distax.datasets.csist100k.configs import Config, ReleasedConfig, get_config
from distax.datasets.csist100k.reading import dataset_folder, open_split
from distax.datasets.csist100k.released import FOLDERS
from distax.errors import DistaxError


def build(
    config: str | Config,
    data_dir: str | os.PathLike[str],
    manual_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Builds the dataset unless it is there already, and checks that every split opens.

    A build that fails leaves nothing behind that could be taken for the dataset.

    Args:
      config: a configuration or its name.
      data_dir: where TFDS keeps its datasets; created if missing.
      manual_dir: the unpacked files, for `released`.

    Returns:
      The folder the dataset is in.

    Raises:
      DistaxError: the configuration is unknown, the published files are missing or unusable, or
        the dataset cannot be written or is already there but damaged.
    """
    config = get_config(config)
    data_dir = Path(data_dir).expanduser()
    folder = dataset_folder(config, data_dir)
    if not folder.exists():
        if isinstance(config, ReleasedConfig):
            _check_manual_dir(manual_dir)
        _prepare(config, data_dir, manual_dir)
    for split in FOLDERS:
        open_split(config, split, data_dir)
    return folder


def _prepare(config: Config, data_dir: Path, manual_dir: str | os.PathLike[str] | None) -> None:
    """Lets TFDS write the dataset into a temporary folder and rename that when all is done."""
    try:
        # TFDS writes prose to the standard output, which belongs to the caller, and wants a
        # download folder even where it downloads nothing.
        with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as downloads:
            Csist100k(config=config, data_dir=data_dir).download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
            )
    except DistaxError:
        raise
    except Exception as error:  # TFDS raises whatever it meets
        reason = " ".join(str(error).split())
        raise DistaxError(f"cannot build {config.name} in {data_dir}: {reason}") from error


def _check_manual_dir(manual_dir: str | os.PathLike[str] | None) -> None:
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
