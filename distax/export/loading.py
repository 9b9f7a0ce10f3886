"""Loading and calling of an exported method."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from jaxtyping import Array, Float

from distax.export import archive
from distax.imaging.checks import check_shape, find_problems
from distax.imaging.sensor import Sensor
from distax.runtime.batching import in_batches, inference_batch
from distax.runtime.errors import DistaxError
from distax.runtime.optional import require
from distax.runtime.settings import from_plain


@dataclass(frozen=True, eq=False)
class Loaded:
    """An exported method. `loaded(images)` returns its outputs by name.

    Attributes:
      about: the description in the file: the method, the sensor, and the input and each output with
        shape, type and unit.
      program: the program. `program.call(images)` is a JAX function of any number of images, for
        use within other functions. It checks nothing.
    """

    about: dict[str, Any]
    program: jax.export.Exported

    @property
    def sensor(self) -> Sensor:
        """The sensor that takes the images."""
        return from_plain(Sensor, self.about["sensor"], "the exported sensor")

    def __call__(
        self, images: Float[Array | np.ndarray, "N height width"]
    ) -> dict[str, np.ndarray]:
        """Computes the outputs for raw images in counts, a row for each image.

        Takes any number of images and computes them in batches of a size that suits the machine.
        Pixels may be NaN if the method is "refine", which leaves them out.

        Raises:
          DistaxError: there are no images, their size is not the sensor's, an image cannot be used,
            or the method was not exported for this platform.
        """
        pixels = np.asarray(images, dtype=np.float32)
        check_shape(pixels, self.sensor)
        if not len(pixels):
            raise DistaxError("there are no images to unmix")
        problems = find_problems(pixels, self.sensor, self.about["method"] == "refine")
        for index, problem in problems.items():
            raise DistaxError(f"images: image {index}, {problem}")
        return in_batches(self._compiled, pixels, inference_batch())

    @cached_property
    def _compiled(self) -> Any:
        platform = jax.export.default_export_platform()
        if platform not in self.program.platforms:
            raise DistaxError(
                f"the method was exported for {', '.join(self.program.platforms)}, JAX computes on "
                f"{platform} here; export it for {platform} or set JAX_PLATFORMS"
            )
        return jax.jit(self.program.call)


def load(path: str | Path) -> Loaded:
    """Loads a method from a file that `export` wrote. The code of its model is not needed.

    Raises:
      DistaxError: there is no such file, it is damaged or not an exported method, or it was written
        under a version of JAX whose programs this one cannot read.
    """
    about, program = archive.read(Path(path))
    require("flatbuffers", "exported methods")
    try:
        return Loaded(about, jax.export.deserialize(bytearray(program)))
    # The archive is complete, so the version must be wrong. JAX has no exception for that.
    except Exception as error:
        raise DistaxError(
            f"{path}: written under JAX {about.get('jax')}, which JAX {jax.__version__} cannot "
            f"read ({type(error).__name__}); export again"
        ) from error
