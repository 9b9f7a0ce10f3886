"""Good files of answers to shards, which are mutated."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np

from distax import Unmixer
from distax.imaging.scenes import simulate
from distax.shards import FORMATS, unmix_shards


def answers(file_format: str) -> tuple[str, bytes]:
    """Makes a file of answers to ten images, one of which cannot be unmixed.

    Returns:
      Its name and its content.
    """
    images = np.array(simulate(jax.random.key(0), 10)[0])
    images[3, 0, 0] = np.nan
    name = f"a{FORMATS[file_format].suffix}"
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the image that cannot be unmixed
        np.save(shard := Path(folder, "a.npy"), images)
        unmix_shards(Unmixer(method="refine"), [shard], Path(folder, "out"), file_format)
        return name, Path(folder, "out", name).read_bytes()
