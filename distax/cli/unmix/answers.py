"""Answers of `distax unmix`, and the JSON file from which a run resumes."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import EllipsisType
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from jax import Array

from distax.frames import Flag, FrameTargets
from distax.frames.psf import PsfCheck
from distax.imaging.targets import Targets
from distax.io.pixels import Frame
from distax.runtime.checksums import checksum_of_settings
from distax.runtime.devices import is_special
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.plain_json import parse_table, write_json
from distax.runtime.settings import STRICT, differences
from distax.runtime.version import __version__
from distax.viz.ranking import doubt

State = Literal["finished", "failed", "unfinished"]
"""State of a file: all images have answers, some cannot be unmixed, or the run stopped early."""

Source = tuple[Path, int]
"""A file, and the number of an image in it."""
_LAST_IMAGE = 2**31 - 1
"""Largest number of an image, which tables store in 32 bits."""


def _check_finite(what: str, values: object) -> None:
    """Raises DistaxError if an attribute is NaN or infinite."""
    for name, value in vars(values).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise DistaxError(f"{what} has {value} as its {name}")


@dataclass(frozen=True)
class Target:
    """Target in an image.

    Attributes:
      row, column: position in pixels.
      intensity: intensity in counts, or in the unit of the frame's file.
      score: score by which the method ranks its targets.
      row_std, column_std, intensity_std: standard deviations in the same units; None if the method
        gives none, or the image does not determine the number.

    Raises:
      DistaxError: a number is NaN or infinite, or a standard deviation is negative.
    """

    row: float
    column: float
    intensity: float
    score: float
    row_std: float | None
    column_std: float | None
    intensity_std: float | None

    def __post_init__(self) -> None:
        _check_finite("a target", self)
        for name, value in vars(self).items():
            if name.endswith("_std") and value is not None and value < 0:
                raise DistaxError(f"a target has a {name} below zero, {value}")


@dataclass(frozen=True)
class FrameTarget(Target):
    """Target in a frame.

    Attributes:
      blob: number of its blob, in order of decreasing significance from 0.
      flags: names of the `Flag`s that are set.
      misfit: root-mean-square residual of its blob's window, in units of the noise.
      count_probability: probability that the blob has the reported number of targets.
      ra, dec: right ascension and declination in degrees (ICRS); None if the file has no celestial
        coordinates.
      point_probability: probability that the blob is no part of a line or an edge; None for a
        measured PSF.
    """

    blob: int
    flags: tuple[str, ...]
    misfit: float
    count_probability: float
    ra: float | None
    dec: float | None
    point_probability: float | None = None


def _field_names(kind: type[Target]) -> tuple[str, ...]:
    """Returns the names of a dataclass's fields."""
    return tuple(field.name for field in fields(kind))


_IMAGE_COLUMNS = ("trusted", "count_probability", "misfit")
"""Columns that describe an image as a whole."""


@dataclass(frozen=True)
class Answer:
    """Targets found in one image of the sensor's size.

    Attributes:
      file: path of the file, as given.
      image: number of the image in the file, from 0.
      targets: the targets.
      trusted: False if the answer is unreliable; None if the method does not judge it.
      count_probability: probability that the image has the reported number of targets; None if the
        method gives none.
      misfit: root-mean-square residual in units of the noise; None if the method gives none.
    """

    file: str
    image: int
    targets: tuple[Target, ...]
    trusted: bool | None
    count_probability: float | None
    misfit: float | None

    columns: ClassVar[tuple[str, ...]] = ("file", "image", *_field_names(Target), *_IMAGE_COLUMNS)
    """Names of the columns of `rows`."""

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields a CSV row for each target, by column."""
        about = {name: getattr(self, name) for name in _IMAGE_COLUMNS}
        for target in self.targets:
            yield {"file": self.file, "image": self.image} | asdict(target) | about

    @property
    def doubts(self) -> list[int]:
        """Doubt about each target: 2 in an answer that is not to be trusted, 0 otherwise."""
        return [2 if self.trusted is False else 0] * len(self.targets)

    @property
    def remarks(self) -> list[dict[str, str]]:
        """Remarks in the printed table: one per target, or one for an image without targets."""
        remark = {"remark": "not to be trusted"} if self.trusted is False else {}
        return [remark] * max(len(self.targets), 1)


@dataclass(frozen=True)
class FrameAnswer:
    """Targets found in one frame.

    Attributes:
      file: path of the file, as given.
      image: number of the frame in the file, from 0.
      targets: the targets.
      height, width: size of the frame in pixels.
      unit: unit of intensity, background and noise in the file; empty for counts.
      saturation: saturation in that unit; None if the file does not give it.
      background, noise: medians over the frame of the background's level and noise.
      threshold: signal-to-noise ratio above which a peak is a blob.
      blobs: number of blobs.
      psf: PSF that was assumed, and how well it holds.

    Raises:
      DistaxError: a number is NaN or infinite.
    """

    file: str
    image: int
    targets: tuple[FrameTarget, ...]
    height: int
    width: int
    unit: str
    saturation: float | None
    background: float
    noise: float
    threshold: float
    blobs: int
    psf: PsfCheck | None = None

    def __post_init__(self) -> None:
        _check_finite("a frame", self)

    columns: ClassVar[tuple[str, ...]] = ("file", "image", *_field_names(FrameTarget))
    """Names of the columns of `rows`."""

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields a CSV row for each target, by column."""
        for target in self.targets:
            flags = {"flags": " ".join(target.flags)}
            yield {"file": self.file, "image": self.image} | asdict(target) | flags

    @property
    def doubts(self) -> list[int]:
        """Doubt about each target, graded as in pictures."""
        flags = [sum(Flag[name.upper()] for name in target.flags) for target in self.targets]
        return doubt(np.array(flags, int)).tolist()

    @property
    def remarks(self) -> list[dict[str, str]]:
        """Remarks in the printed table: one per target, or one for a frame without targets."""
        return [_frame_remark(target) for target in self.targets] or [{}]


def _frame_remark(target: FrameTarget) -> dict[str, str]:
    sky = {"ra / °": target.ra, "dec / °": target.dec}
    on_sky = {name: f"{angle:.6f}" for name, angle in sky.items() if angle is not None}
    return {"blob": str(target.blob)} | on_sky | {"flags": ", ".join(target.flags)}


def answer_for(source: Source, found: Targets, row: int) -> Answer:
    """Makes the answer for an image of the sensor's size, from one row of targets `[N, K]`.

    Raises:
      DistaxError: a number that every answer must have is NaN or infinite.
    """
    return Answer(
        file=str(source[0]),
        image=source[1],
        targets=tuple(Target(**values) for values in _target_fields(found, row)),
        trusted=None if found.trusted is None else bool(found.trusted[row]),
        count_probability=_float_or_none(found.count_probability, row),
        misfit=_float_or_none(found.misfit, row),
    )


def _float_or_none(values: Array | np.ndarray | None, row: int) -> float | None:
    """Returns one entry of an array as a float; None if there is no array, or it is not finite."""
    if values is None or not math.isfinite(value := float(values[row])):
        return None
    return value


def answer_for_frame(source: Source, frame: Frame, found: FrameTargets) -> FrameAnswer:
    """Makes the answer for a frame.

    Raises:
      DistaxError: as `answer_for`.
    """
    targets = found.targets
    ra, dec = frame.sky(*targets.position.T) if frame.sky else (None, None)
    return FrameAnswer(
        file=str(source[0]),
        image=source[1],
        targets=tuple(
            FrameTarget(
                **values,
                blob=int(found.blob[k]),
                flags=Flag(int(found.flags[k])).names,
                misfit=float(found.misfit[k]),
                count_probability=float(found.count_probability[k]),
                point_probability=_float_or_none(found.point_probability, k),
                ra=_float_or_none(ra, k),
                dec=_float_or_none(dec, k),
            )
            for k, values in enumerate(_target_fields(targets, ...))
        ),
        height=frame.shape[0],
        width=frame.shape[1],
        unit=frame.unit,
        saturation=frame.saturation,
        background=float(np.median(found.background.level)),
        noise=float(np.median(found.background.noise)),
        threshold=found.threshold,
        blobs=len(found.blobs.pixel),
        psf=found.psf,
    )


def _target_fields(found: Targets, row: int | EllipsisType) -> Iterator[dict[str, Any]]:
    """Yields the fields of `Target` for each target of one image."""
    spread, deviation = found.position_std, found.intensity_std
    numbers = {
        "row": found.position[row][:, 0],
        "column": found.position[row][:, 1],
        "intensity": found.intensity[row],
        "score": found.score[row],
    }
    deviations = {
        "row_std": None if spread is None else spread[row][:, 0],
        "column_std": None if spread is None else spread[row][:, 1],
        "intensity_std": None if deviation is None else deviation[row],
    }
    numbers, deviations = jax.tree.map(np.asarray, (numbers, deviations))
    for slot in np.flatnonzero(np.asarray(found.mask)[row]).tolist():
        exact = {name: float(values[slot]) for name, values in numbers.items()}
        yield exact | {name: _float_or_none(one, slot) for name, one in deviations.items()}


@dataclass(frozen=True)
class Record:
    """Answers of a run so far, as the JSON file holds them.

    Attributes:
      options: options that the answers depend on.
      assumed: methods that gave the answers, each with the sensor and the prior that it assumed.
      files: state of each file of the run, in order.
      images: answers, in the order of the files.
      contents: CRC-32 of the content of each file on disk that was read.
      distax: version of distax.

    Raises:
      DistaxError: an answer for a file that is not among `files`, two answers for one image, or a
        number of an image or a name of a file that no file has.
    """

    options: dict[str, Any]
    assumed: tuple[dict[str, Any], ...]
    files: dict[str, State]
    images: tuple[Answer | FrameAnswer, ...]
    contents: dict[str, int] = field(default_factory=dict)
    distax: str = __version__

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        for file in self.files:
            if "\0" in file:
                raise DistaxError(f"has the file {file!r}, which is no valid name of a file")
        seen: set[tuple[str, int]] = set()
        for image in self.images:
            if image.file not in self.files:
                raise DistaxError(f"has an answer for {image.file}, which is not among its files")
            if not 0 <= image.image <= _LAST_IMAGE:
                raise DistaxError(f"has an answer for image {image.image} of {image.file}")
            if (image.file, image.image) in seen:
                raise DistaxError(f"has two answers for image {image.image} of {image.file}")
            seen.add((image.file, image.image))

    def write(self, path: Path) -> None:
        """Writes the record as JSON with its checksum, atomically."""
        values = asdict(self)
        write_json(path, values | {"checksum": checksum_of_settings(values)})


def read_record(path: Path, options: Mapping[str, Any]) -> Record:
    """Reads the record of an earlier run, to resume it.

    Args:
      path: file that `Record.write` wrote.
      options: options of the present run.

    Raises:
      DistaxError: the file cannot be read, is not a record, comes from another version or from
        other options, or differs from its checksum.
    """
    from pydantic import TypeAdapter, ValidationError

    if is_special(path):
        raise DistaxError(f"{path}: is no regular file; leave --resume out to start anew")
    try:
        values = parse_table(path.read_bytes())
        checksum = values.pop("checksum", None)
        record = TypeAdapter(Record).validate_json(json.dumps(values))
    except OSError as error:
        raise DistaxError(
            f"{path}: cannot be read ({error.strerror}); leave --resume out to start anew"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise _no_record(path, f"{where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        fault = "Invalid JSON: " if isinstance(error, json.JSONDecodeError) else ""
        raise _no_record(path, f"the whole file: {fault}{first_line(error)}") from None
    before, now = {"distax": record.distax, **record.options}, {"distax": __version__, **options}
    if differing := differences(before, now):
        raise DistaxError(
            f"{path}: its answers come from other settings ({'; '.join(differing)}); give the "
            "same options, or leave --resume out to start anew"
        )
    if checksum != checksum_of_settings(values):
        raise DistaxError(
            f"{path}: is damaged or was edited, as its content differs from its checksum; name "
            "another copy, or leave --resume out to start anew"
        )
    return record


def _no_record(path: Path, fault: str) -> DistaxError:
    return DistaxError(
        f"{path}: not a --json file of unmix ({fault}); name another file, or leave --resume out "
        "to start anew"
    )
