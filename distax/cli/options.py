"""Options that several commands share, and the unmixers that they describe."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from distax.runtime.errors import DistaxError, check_positive

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from distax.frames import FramePrior, FrameUnmixer
    from distax.imaging.scenes import ScenePrior
    from distax.imaging.sensor import Sensor
    from distax.io.reading import Reading
    from distax.unmixer import Unmixer


class OptionError(DistaxError):
    """An option that cannot be used, which is no fault of the file that is read."""


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Adds an option's name to the errors of a block."""
    try:
        yield
    except DistaxError as error:
        raise OptionError(f"{option}: {error}") from None


def register_models(module: Path | None) -> None:
    """Runs the Python file that an option names, so that the models in it are registered.

    Raises:
      DistaxError: it does not exist, is no Python file, or fails.
    """
    if module is not None:
        from distax.models import import_module_file

        with naming("--model.module"):
            import_module_file(str(module))


def default(text: str) -> Any:
    """Returns the mark that makes the help show a default in words instead of `None`."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


Method = Literal["fast", "posterior", "refine", "grid"]

Checkpoint = Annotated[
    str | None,
    tyro.conf.arg(
        help="Use this model: the folder of a run of `train` or `quickstart`, a .safetensors file, "
        "the name of weights that come with distax (cfgn, cfgn_offset, density, dista, "
        "dista_offset), or a classical model that needs no training, such as fista.",
        help_behavior_hint="(default: no model, see --method)",
    ),
]

ModelModule = Annotated[
    Path | None,
    tyro.conf.arg(
        name="model.module",
        help="Run this Python file, which registers a model of your own. A file that only a "
        "checkpoint names is not run.",
        help_behavior_hint="(default: no file is run)",
    ),
]
"""File that registers the model of a checkpoint."""

Threshold = Annotated[
    float | None,
    tyro.conf.arg(
        help="Report the grid nodes that hold at least this many counts. For grid models.",
        help_behavior_hint="(default: the threshold of the model's training; 50 for classical "
        "models and for weights that come with distax)",
    ),
]

OutputPath = Annotated[Path | None, default("not written")]

_CAMERA = ("sigma", "saturation", "bit_depth", "read_noise", "gain")
"""Options of `FrameOptions` that a sensor file gives as well."""
_DETECTION = ("false_blobs", "box", "best", "min_score", "trusted_only", "crowded")
"""Options of `FrameOptions` that no sensor file gives."""


def describe_choice(method: Method | None, checkpoint: str | None) -> str:
    """Names the given checkpoint or method, for error lines."""
    return "a checkpoint" if checkpoint else f"the method {method}"


def make_unmixer(
    method: Method | None,
    checkpoint: str | None,
    threshold: float | None,
    sensor_file: Path | None = None,
    prior: "ScenePrior | None" = None,
) -> "Unmixer":
    """Makes the unmixer that `--method`, `--checkpoint`, `--threshold` and `--sensor` describe.

    Args:
      method: default: the method of the checkpoint's model. Without a checkpoint, "fast" for every
        sensor and prior in the range of its networks, and "posterior" for any other.
      checkpoint: the model to use; None for a method that needs none, or for the network that comes
        with distax.
      threshold: counts a grid node needs to be reported; None for the checkpoint's own.
      sensor_file: TOML file of the sensor; None for the checkpoint's, or CSIST-100K's.
      prior: the scenes' prior, for methods without a checkpoint. Default: CSIST-100K's.

    Raises:
      DistaxError: the options contradict each other, or the checkpoint or the sensor file cannot
        be used.
    """
    from distax.io.sensor_file import read_sensor
    from distax.unmixer import Unmixer

    if threshold is not None and checkpoint is None:
        raise DistaxError(
            "--threshold is for grid models: name one by --checkpoint, or leave --threshold out"
        )
    sensor = read_sensor(sensor_file) if sensor_file else None
    if checkpoint is None:
        if method == "grid":
            raise DistaxError("the method grid needs a trained model: name one by --checkpoint")
        return Unmixer(method=method, sensor=sensor, prior=prior)
    if method in ("refine", "posterior"):
        raise DistaxError(f"{method} has no model; give --method or --checkpoint, not both")
    unmixer = Unmixer.load(checkpoint, threshold, sensor)
    if method not in (None, unmixer.method):
        raise DistaxError(
            f"the model of {checkpoint} is for the method {unmixer.method}, not {method}; leave "
            "--method out"
        )
    return unmixer


def _given(options: "PriorOptions | FrameOptions") -> dict[str, Any]:
    every = asdict(options).items()
    return {name: value for name, value in every if value is not None and value is not False}


@dataclass(frozen=True)
class InputOptions:
    """Parts of the files that are read.

    Attributes:
      extension: Name or number of the FITS extension that holds the image, or name of the array in
        an NPZ file.
      mask: File or FITS extension that marks bad pixels by values other than zero. They are left
        out like those that are NaN. Name none to read no mask.
      channel: Colour channel to read, numbered from 0 (red), or mean, for images whose colours
        differ.
      max_gigabytes: Largest size of the pixels that a compressed image may unpack to, that a packed
        file may hold, and that are read at once.
    """

    extension: Annotated[str | None, default("the first with an image")] = None
    mask: Annotated[str | None, default("the extension DQ, MASK or BPM of a FITS file")] = None
    channel: Annotated[str | None, default("the only one, if all colours are equal")] = None
    max_gigabytes: float = 4.0

    @property
    def reading(self) -> "Reading":
        """Settings of the reader.

        Raises:
          DistaxError: a value is out of range.
        """
        from distax.io.reading import Reading

        check_positive(max_gigabytes=self.max_gigabytes)
        limit = round(1e9 * self.max_gigabytes)
        return Reading(self.extension, self.mask, self.channel, limit)


def read_sequence(
    paths: Sequence[Path], options: InputOptions
) -> "Float[np.ndarray, 'N height width']":
    """Reads all images of files, of folders and of patterns, in natural order.

    Raises:
      DistaxError: no image is found, or one cannot be read or has another size than the first.
    """
    from distax.io.frames import find_files
    from distax.io.images import read_images

    return read_images(find_files(paths), options.reading)


Input = Annotated[InputOptions, tyro.conf.arg(name="")]
"""Options of the reader, without a prefix to their names."""


@dataclass(frozen=True)
class PriorOptions:
    """Number, spacing and intensity of the targets, as far as they are known.

    Attributes:
      max_targets: Largest number of targets in an image or in a blob of a frame.
      cluster: Side in pixels of the square that holds all targets of an image or of a blob.
      min_intensity: Smallest intensity of a target in counts. Frames need both bounds or neither.
      max_intensity: Largest intensity of a target in counts. Frames need both bounds or neither.
    """

    max_targets: Annotated[int | None, default("5")] = None
    cluster: Annotated[
        float | None, default("1 in images of the sensor's size, 4 sigma of the PSF in frames")
    ] = None
    min_intensity: Annotated[
        float | None, default("220 in images of the sensor's size, unknown in frames")
    ] = None
    max_intensity: Annotated[
        float | None, default("250 in images of the sensor's size, unknown in frames")
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """The options that are given, by name."""
        return _given(self)

    def for_images(self) -> "ScenePrior":
        """Returns CSIST-100K's prior, changed by the options that are given.

        Raises:
          DistaxError: values that are out of range or contradict each other.
        """
        from distax.imaging.scenes import ScenePrior

        with naming("--prior"):
            return ScenePrior(**self.given)

    def for_frames(self) -> "FramePrior":
        """Returns the default prior of a frame's blobs, changed by the options that are given.

        Raises:
          DistaxError: values that are out of range or contradict each other.
        """
        from distax.frames import FramePrior

        with naming("--prior"):
            return FramePrior(**self.given)


@dataclass(frozen=True)
class FrameOptions:
    """Camera of the frames, unless --sensor gives it, and settings of the blob detection.

    Attributes:
      sigma: Standard deviation of the PSF in pixels, from 0.3 to 6.
      saturation: Counts at which a pixel saturates.
      bit_depth: Bits of the digitiser, which rounds to whole counts.
      read_noise: Standard deviation of the background's noise in counts.
      gain: Electrons per count, for the shot noise of the targets.
      false_blobs: Mean number of false blobs per frame of pure noise. It sets the detection
        threshold.
      box: Side in pixels of the boxes in which the background is measured.
      best: Number of targets of a frame that are kept: trusted ones first, then by score.
      min_score: Least score of a target that is kept. Scores are from 0 to 1.
      trusted_only: Leave out targets with the flag unsure.
      crowded: Fit blobs whose windows overlap jointly, and look for hidden targets in the residual.
        For fields of many stars.
    """

    sigma: Annotated[
        float | None, default("measured in the frame, or 0.5 if too few isolated blobs show it")
    ] = None
    saturation: Annotated[
        float | None, default("SATURATE in the FITS header, or no saturation")
    ] = None
    bit_depth: Annotated[int | None, default("no rounding")] = None
    read_noise: Annotated[float | None, default("measured in the frame")] = None
    gain: Annotated[float | None, default("no shot noise of the targets")] = None
    false_blobs: Annotated[float | None, default("0.01")] = None
    box: Annotated[int | None, default("64")] = None
    best: Annotated[int | None, default("all")] = None
    min_score: Annotated[float | None, default("0")] = None
    trusted_only: bool = False
    crowded: bool = False

    @property
    def given(self) -> dict[str, Any]:
        """The options that are given, by name."""
        return _given(self)

    def make_unmixer(
        self,
        method: Method | None,
        checkpoint: str | None,
        sensor_file: Path | None = None,
        prior: PriorOptions = PriorOptions(),
    ) -> "FrameUnmixer":
        """Makes the unmixer of frames that the options describe.

        Args:
          method: "refine", "fast" or "posterior". Default: the unmixer's.
          checkpoint: must be None: no model unmixes frames.
          sensor_file: TOML file that describes the camera instead of these options.
          prior: options of the prior.

        Raises:
          DistaxError: a method that cannot unmix frames, a value out of range, or a camera that is
            described twice.
        """
        from distax.frames import FrameUnmixer

        if checkpoint is not None or method not in (None, "refine", "fast", "posterior"):
            raise DistaxError(
                f"{describe_choice(method, checkpoint)} unmixes images of its sensor's size only; "
                "choose the method refine, fast or posterior for a frame"
            )
        camera, known = self._camera(sensor_file), prior.for_frames()
        settings: dict[str, Any] = {
            name: self.given[name] for name in _DETECTION if name in self.given
        }
        settings["measure_psf"] = sensor_file is None and self.sigma is None
        with naming("--frame"):
            return FrameUnmixer(sensor=camera, prior=known, method=method, **settings)

    def _camera(self, sensor_file: Path | None) -> "Sensor":
        from distax.imaging.sensor import Sensor
        from distax.io.sensor_file import read_sensor

        camera = {name: self.given[name] for name in _CAMERA if name in self.given}
        if sensor_file is None:
            with naming("--frame"):
                return Sensor(**{"saturation": None, "bit_depth": None} | camera)
        for name in camera:
            option = f"--frame.{name.replace('_', '-')}"
            raise OptionError(
                f"--sensor and {option} both describe the camera; leave one of them out"
            )
        return read_sensor(sensor_file)
