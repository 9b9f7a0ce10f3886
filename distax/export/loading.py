"""An exported method, read back and called."""

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
    """A method from a file: `loaded(images)` returns its outputs by name.

    Attributes:
      about: what `about.json` in the file says: the method, the sensor, and the input and each
        output with shape, type and unit.
      program: the method as JAX sees it. `program.call(images)` is a JAX function of any number
        of images, to be used within other functions; it checks nothing.
    """

    about: dict[str, Any]
    program: jax.export.Exported

    @property
    def sensor(self) -> Sensor:
        """Whose images it takes."""
        return from_plain(Sensor, self.about["sensor"], "the exported sensor")

    def __call__(
        self, images: Float[Array | np.ndarray, "N height width"]
    ) -> dict[str, np.ndarray]:
        """The outputs for raw images in counts, rows along their first axis.

        Any number of images, computed in batches of a size that suits the machine. Pixels may be
        NaN if the method is "refine", which leaves them out.

        Raises:
          DistaxError: images of another size than the sensor's, none, or one that cannot be used.
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
    """The method in a file that `export` wrote; its model's code is not needed.

    Raises:
      DistaxError: there is no such file, it is damaged or something else, or this JAX cannot read
        what another version wrote.
    """
    about, program = archive.read(Path(path))
    require("flatbuffers", "exported methods")
    try:
        return Loaded(about, jax.export.deserialize(bytearray(program)))
    # The archive is whole, so that only the version can be wrong; JAX has no error for it.
    except Exception as error:
        raise DistaxError(
            f"{path}: written under JAX {about.get('jax')}, which JAX {jax.__version__} cannot "
            f"read ({type(error).__name__}); export again"
        ) from error
