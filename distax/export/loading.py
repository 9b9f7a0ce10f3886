"""Loading and calling of an exported method."""

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import jax
import jax.export
import numpy as np
from jaxtyping import Array, Float

from distax.export import archive
from distax.export.numbers import MEANING, numbers_of
from distax.imaging.checks import as_counts, check_sequences, find_problems, to_stack
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.batching import in_batches, inference_batch, sequence_batch
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, shown
from distax.runtime.optional import require
from distax.runtime.settings import from_plain


@dataclass(frozen=True, eq=False)
class ExportedMethod:
    """An exported method. `method(images)` returns its outputs by name.

    Attributes:
      description: the description in the file: the method, the sensor, and the inputs and each
        output with shape, type and unit. `description["camera"]` describes the numbers of a method
        that serves every camera; None for any other method. `description["sequence"]` has the
        number of `frames` that a model of sequences takes, and the numbers of those that are
        `answered`, counted from 0; None for images.
      program: the program. `program.call(images)` is a JAX function of any number of images or
        sequences, for use within other functions. It checks nothing. `program.call(images,
        numbers)` is that of a method that serves every camera, with a dictionary of the camera's
        numbers.
    """

    description: dict[str, Any]
    program: jax.export.Exported

    @property
    def sensor(self) -> Sensor:
        """The sensor that takes the images, if a call names no other."""
        return from_plain(Sensor, self.description["sensor"], "the exported sensor")

    @property
    def prior(self) -> ScenePrior | None:
        """The prior of the scenes, if a call names no other; None for a network with its own."""
        prior = self.description["prior"]
        return None if prior is None else from_plain(ScenePrior, prior, "the exported prior")

    def __call__(
        self,
        images: Float[Array | np.ndarray, "N *frames height width"],
        sensor: Sensor | None = None,
        prior: ScenePrior | None = None,
    ) -> dict[str, np.ndarray]:
        """Computes the outputs for raw images in counts.

        Takes any number of images and computes them in batches of a size that suits the machine.
        Pixels may be NaN if the method fits the images; it leaves them out.

        Args:
          images: raw images in counts. A model of sequences takes `[N, frames, height, width]`.
          sensor: the camera, for a method that serves every camera. Default: `sensor`.
          prior: the scenes' prior, for a method that serves every camera. Default: `prior`.

        Returns:
          The outputs by name, each with one row per image. `description["outputs"]` gives their
          shapes and units. Targets have the fields of `Targets`, such as `position` `[N, K, 2]` in
          pixels and `intensity` `[N, K]` in counts; a grid is `grid` `[N, H, W]` in counts. Those
          of sequences have the answered frames as their second axis: `position`
          `[N, answered, K, 2]`.

        Raises:
          DistaxError: there are no images, their size is not the sensor's, an image cannot be used;
            sequences have another number of frames; the method does not serve the sensor or the
            prior; or the method was not exported for this platform.
        """
        camera, numbers = self._camera(sensor, prior)
        if sequence := self.description.get("sequence"):
            return self._of_sequences(images, sequence["frames"])
        pixels = to_stack(images, camera)
        if not len(pixels):
            raise DistaxError("there are no images to unmix")
        problems = find_problems(pixels, camera, self.prior is not None)
        if problems:
            index, problem = next(iter(problems.items()))
            raise DistaxError(f"images: image {index}, {problem}")
        compiled = self._compiled
        return in_batches(lambda rows: compiled(rows, *numbers), pixels, inference_batch())

    def _of_sequences(
        self, images: Float[Array | np.ndarray, "N frames height width"], frames: int
    ) -> dict[str, np.ndarray]:
        pixels = as_counts(images)
        check_sequences(pixels, self.sensor, "images")
        if pixels.shape[1] != frames:
            raise DistaxError(
                f"images: sequences of {pixels.shape[1]} frames, and the model was exported for "
                f"{frames}; give {frames}, or export it again for {pixels.shape[1]}"
            )
        return in_batches(self._compiled, pixels, sequence_batch(frames), smallest=1)

    def _camera(
        self, sensor: Sensor | None, prior: ScenePrior | None
    ) -> tuple[Sensor, tuple[dict[str, np.ndarray], ...]]:
        """Returns the sensor of a call, and the camera's numbers for a method that takes them."""
        exported, exported_prior = self.sensor, self.prior
        if exported_prior is None or not self.description.get("camera"):
            if sensor not in (None, exported) or prior not in (None, exported_prior):
                raise DistaxError(
                    "the method was exported for its own sensor and prior alone: leave both out, "
                    "or export another for yours"
                )
            return exported, ()
        # Only these methods need the estimators' code.
        from distax.export.cameras import check_served

        camera, known = sensor or exported, prior or exported_prior
        check_served(camera, known, exported, exported_prior)
        return camera, (numbers_of(camera, known),)

    @cached_property
    def _compiled(self) -> Any:
        platform = jax.export.default_export_platform()
        if platform not in self.program.platforms:
            raise DistaxError(
                f"the method was exported for {', '.join(self.program.platforms)}, but JAX runs on "
                f"{platform} here; export it for {platform}, or set "
                f"JAX_PLATFORMS={self.program.platforms[0]}"
            )
        return jax.jit(self.program.call)


def load(path: str | PathLike[str]) -> ExportedMethod:
    """Loads a method from a file that `export` wrote. The code of its model is not needed.

    Raises:
      DistaxError: there is no such file; it is damaged or not an exported method; its description
        is not that of its program; the installed JAX cannot read the version of JAX that wrote it;
        or flatbuffers is not installed.
    """
    about, program = archive.read(as_path(path))
    require("flatbuffers", "exported methods")
    try:
        method = ExportedMethod(about, jax.export.deserialize(bytearray(program)))
    # The archive's checksums hold, so the remaining cause is a version of JAX that differs. JAX has
    # no exception for that.
    except Exception as error:
        raise DistaxError(
            f"{path}: written under JAX {about.get('jax')}, which JAX {jax.__version__} cannot "
            f"read ({type(error).__name__}); export again"
        ) from error
    _check_description(path, about)
    if not _fits(method):
        raise DistaxError(f"{path}: its description does not fit its program; export again")
    return method


def _check_description(path: str | PathLike[str], about: dict[str, Any]) -> None:
    """Raises DistaxError for a description that lacks a part, or whose values are out of range."""
    for name, kind in (("sensor", dict), ("prior", dict | None), ("outputs", dict)):
        if name not in about or not isinstance(about[name], kind):
            raise DistaxError(f"{path}: its description has no {name}; export again")
    for name in ("sequence", "camera"):
        if not isinstance(value := about.get(name), dict | None):
            raise DistaxError(f"{path}: its {name} is {shown(value)}, no table; export again")
    for part, values in ((Sensor, about["sensor"]), (ScenePrior, about["prior"])):
        if values is not None:
            from_plain(part, values, f"{path}: its {part.__name__}")


def _fits(method: ExportedMethod) -> bool:
    """Returns True if a program takes the images and the numbers that its description tells of."""
    sequence, camera = method.description.get("sequence"), method.description.get("camera")
    frames = () if sequence is None else (sequence.get("frames"),)
    inputs = [tuple(each.shape) for each in method.program.in_avals]
    return len(inputs) == 1 + (len(MEANING) if camera else 0) and inputs[0][1:] == (
        *frames,
        *method.sensor.shape,
    )
