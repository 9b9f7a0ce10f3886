"""`distax samples`: small simulated input files for every command, with their truth."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from distax.runtime.errors import DistaxError
from distax.runtime.files import check_place
from distax.runtime.optional import require
from distax.runtime.terminal import say

if TYPE_CHECKING:
    import numpy as np
    from jax import Array
    from jaxtyping import Float

    from distax.imaging.sensor import Sensor
    from distax.imaging.targets import Targets

SEED = 0
"""Seed of all samples: the files are the same on every machine."""
_RELEASED = {"train": 8, "val": 4, "test": 4}
"""Images in each split of the small CSIST-100K tree."""
_SKY: dict[str, str | float] = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 10.0,
    "CRVAL2": 20.0,
    "CRPIX1": 80.5,
    "CRPIX2": 64.5,
    "CDELT1": -0.01,
    "CDELT2": 0.01,
}
"""FITS keywords of the frame's sky coordinates: 0.01 degrees per pixel, tangent projection."""


class Row(NamedTuple):
    """A true target: its file, the number of the image in that file, its position and intensity.

    `image` counts from 0. Rows and columns are in pixels, the intensity is in counts.
    """

    file: str
    image: int
    row: float
    column: float
    intensity: float


@dataclass(frozen=True)
class Samples:
    """Write small simulated input files for the other commands, with the true targets.

    The documentation's commands read these files. They are the same on every machine.
    """

    out: Path = Path("samples")
    """Folder for the files."""
    overwrite: bool = False
    """Replace files of the same names that differ. Other files in the folder are left alone."""

    def run(self) -> None:
        """Simulates and writes the files, and prints what each file holds.

        A folder that holds all of these files unchanged is left as it is.

        Raises:
          DistaxError: the folder holds files, but not these; or a file cannot be written.
        """
        require("PIL", "sample files")
        require("astropy", "sample files")
        require("tomlkit", "sample files")
        check_place(self.out / "truth.csv")
        if self.overwrite or not self.out.is_dir() or not any(self.out.iterdir()):
            about = _write_samples(self.out)
        else:
            about = self._check()
        for name, text in about.items():
            say(f"{self.out / name}: {text}")

    def _check(self) -> dict[str, str]:
        """Returns what each file holds; raises DistaxError if a file is missing or differs."""
        with TemporaryDirectory() as folder:
            about = _write_samples(Path(folder))
            written = filter(Path.is_file, Path(folder).rglob("*"))
            names = [str(path.relative_to(folder)) for path in written]
            others = sorted(
                name for name in names if not _are_equal(Path(folder, name), self.out / name)
            )
        if others:
            raise DistaxError(
                f"{self.out}: already holds files, and {others[0]} is missing or not the sample; "
                "name another folder by --out, or add --overwrite to replace the files of the same "
                "names"
            )
        say(f"{self.out}: has all samples already, unchanged")
        return about


def _are_equal(first: Path, second: Path) -> bool:
    """Returns True if two files have the same content; False if the second is missing."""
    try:
        return first.read_bytes() == second.read_bytes()
    except OSError:
        return False


def _write_samples(folder: Path) -> dict[str, str]:
    """Writes all files to a folder, and returns what each file holds by its name."""
    truth: list[Row] = []
    descriptions = {}
    for name, about, write, rows in _samples():
        write(folder / name)
        truth += rows
        if about:
            descriptions[name] = about
    _write_rows(folder / "truth.csv", truth)
    return descriptions | {"truth.csv": "the true targets of all files"}


class _Sample(NamedTuple):
    """A file to write: its name, a description (empty for a part of a group), and its targets."""

    name: str
    about: str
    write: Callable[[Path], None]
    truth: list[Row]


def write_png(path: Path, image: "Float[np.ndarray, 'height width']", sensor: "Sensor") -> None:
    """Writes an image of raw counts as a PNG file, with 16 bits where 8 are too few.

    Args:
      path: the file, written atomically.
      image: counts; fractions are rounded, and what the format cannot hold is clipped.
      sensor: decides between 8 and 16 bits by its largest count.

    Raises:
      DistaxError: the file cannot be written.
    """
    import numpy as np
    from PIL import Image

    from distax.runtime.files import atomic_write

    counts = np.uint8 if sensor.clip_level <= np.iinfo(np.uint8).max else np.uint16
    held = np.clip(np.round(image), 0, np.iinfo(counts).max).astype(counts)
    with atomic_write(path) as temporary:
        Image.fromarray(held).save(temporary)


def _samples() -> Iterator[_Sample]:
    import jax
    import numpy as np

    from distax.imaging.scenes import simulate
    from distax.imaging.sensor import Sensor

    # Each prior is compiled anew, which takes most of the time: two groups share these scenes.
    drawn = simulate(jax.random.key(SEED), 64, Sensor())
    images, truth = jax.tree.map(np.asarray, drawn)
    yield from _blobs(images, truth)
    yield from _frame()
    yield from _sequence()
    yield from _moving_frames()
    yield from _camera()
    yield from _released_tree(images, truth)


def _blobs(images: "np.ndarray", truth: "Targets") -> Iterator[_Sample]:
    """Yields a PNG image of CSIST-100K's sensor for each number of targets."""
    import numpy as np

    from distax.imaging.sensor import Sensor

    counts = np.sum(truth.mask, axis=-1)
    for count in np.unique(counts):
        index = int(np.argmax(counts == count))
        name = f"blob{count}.png"
        about = f"11×11 px, {count} target{'s' * int(count > 1)} in one pixel"
        write = partial(write_png, image=images[index], sensor=Sensor())
        yield _Sample(name, about, write, _rows(name, _chosen(truth, [index])))


def _frame() -> Iterator[_Sample]:
    """Yields a whole frame with blobs, noise, a gradient, bad pixels and a sky header."""
    import jax
    import numpy as np

    from distax.frames.simulation import FrameScene, simulate_frame
    from distax.imaging.scenes import ScenePrior

    scene = FrameScene(
        height=128, width=160, clusters=8, prior=ScenePrior(max_targets=3), stars=0, bad_pixels=2e-4
    )
    pixels, truth = simulate_frame(jax.random.key(SEED), scene)
    targets = jax.tree.map(lambda leaf: np.asarray(leaf)[None], truth.targets)
    yield _Sample(
        "frame.fits",
        f"{scene.height}×{scene.width} px, {scene.clusters} blobs of one to three targets, a sky "
        "header",
        partial(_write_fits, pixels=pixels),
        _rows("frame.fits", targets),
    )


def _sequence() -> Iterator[_Sample]:
    """Yields twenty frames in which two targets move."""
    import jax

    from distax.imaging.motion import MotionPrior, simulate
    from distax.imaging.scenes import ScenePrior

    prior = MotionPrior(placement=ScenePrior(min_targets=2, max_targets=2))
    frames, truth = simulate(jax.random.key(SEED), 1, prior=prior)
    first = jax.tree.map(lambda leaf: leaf[0], truth)
    about = f"{prior.frames} frames of 11×11 px with two moving targets"
    yield _Sample("frames.npy", about, _npy(frames[0]), _rows("frames.npy", first))


def _moving_frames() -> Iterator[_Sample]:
    """Yields ten whole frames of a shaking camera in which four targets move."""
    import jax

    from distax.frames.simulation import FRAME_SENSOR
    from distax.tracking import FrameSequence, simulate_frames

    content = FrameSequence(
        height=64, width=80, frames=10, targets=4, intensity=(150.0, 300.0), jitter=0.4
    )
    sensor = replace(FRAME_SENSOR, saturation=255.0, bit_depth=8)
    frames, truth = simulate_frames(jax.random.key(SEED), content, sensor)
    about = f"{len(frames)} frames of 64×80 px with four moving targets and a shaking camera"
    yield _Sample("moving.npy", about, _npy(frames), _rows("moving.npy", truth.targets))


def _camera() -> Iterator[_Sample]:
    """Yields images of a camera that is to be measured, and its true sensor file."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from distax.imaging.scenes import ScenePrior, simulate
    from distax.imaging.sensor import Sensor, expose
    from distax.io.sensor_file import write_sensor

    camera = Sensor(sigma=0.55, read_noise=1.0, gain=4.0, background=10.0)
    scene_key, light_key = jax.random.split(jax.random.key(SEED))
    drawn = simulate(scene_key, 256, camera, ScenePrior(max_targets=2))
    images, truth = jax.tree.map(np.asarray, drawn)
    counts = np.sum(truth.mask, axis=-1)
    alone = np.flatnonzero(counts == 1)
    for name, chosen, about in (
        ("isolated.npy", alone[:100], "100 images of one source each, from an unknown camera"),
        ("blobs.npy", np.flatnonzero(counts == 2)[:5], "5 blobs of two targets, from that camera"),
    ):
        yield _Sample(name, about, _npy(images[chosen]), _rows(name, _chosen(truth, chosen)))
    light = jnp.array([0.0, 50.0, 150.0])[:, None, None, None]
    closed = replace(camera, background=0.0)  # dark frames see no background either
    frames = expose(light_key, jnp.broadcast_to(light, (3, 6, 32, 32)), closed)
    dark = "6 frames of that camera without light"
    yield _Sample("dark.npy", dark, _npy(frames[0]), [])
    for level, flat in zip((50, 150), frames[1:], strict=True):
        about = f"6 frames of that camera, evenly lit to {level} counts"
        yield _Sample(f"flat{level}.npy", about, _npy(flat), [])
    about = "the true sensor of that camera, to compare with"
    yield _Sample("camera.toml", about, partial(write_sensor, sensor=camera), [])


def _released_tree(images: "np.ndarray", truth: "Targets") -> Iterator[_Sample]:
    """Yields a small tree of images and annotations in the form of the released CSIST-100K."""
    from distax.imaging.sensor import Sensor
    from distax.runtime.files import write_text

    total = sum(_RELEASED.values())
    yield _Sample("CSIST-100K", f"{total} images in the form of the released data", _no_file, [])
    splits = [split for split, count in _RELEASED.items() for _ in range(count)]
    for index, split in enumerate(splits):
        name = f"CSIST-100K/{split}/cso_img/image_{index}.png"
        rows = _rows(name, _chosen(truth, [index]))
        write = partial(write_png, image=images[index], sensor=Sensor())
        yield _Sample(name, "", write, rows)
        annotation = f"CSIST-100K/{split}/Annotations/CSO{index}.xml"
        yield _Sample(annotation, "", partial(write_text, text=_annotation(index, rows)), [])


def _chosen(truth: "Targets", indices: "Sequence[int] | np.ndarray") -> "Targets":
    """Selects the targets of some images."""
    import jax
    import numpy as np

    return jax.tree.map(lambda leaf: np.asarray(leaf)[indices], truth)


def _no_file(path: Path) -> None:
    """Writes nothing, because the folder is made with its first file."""


def _rows(file: str, truth: "Targets") -> list[Row]:
    """Lists the true targets `[N, K]` of a file's images, in order."""
    import numpy as np

    position, intensity = np.asarray(truth.position), np.asarray(truth.intensity)
    rows = []
    for image, slot in np.argwhere(np.asarray(truth.mask)).tolist():
        row, column = position[image, slot].tolist()
        rows.append(Row(file, image, row, column, float(intensity[image, slot])))
    return rows


def _write_rows(path: Path, rows: list[Row]) -> None:
    from distax.runtime.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows((*row[:2], *(f"{value:.4f}" for value in row[2:])) for row in rows)
    write_text(path, text.getvalue())


def _npy(images: "Array | np.ndarray") -> Callable[[Path], None]:
    """Returns a function that writes the whole counts of an 8-bit sensor."""
    import numpy as np

    from distax.runtime.files import atomic_write

    counts = np.asarray(images).astype(np.uint8)

    def write(path: Path) -> None:
        with atomic_write(path) as temporary:
            np.save(temporary, counts)

    return write


def _write_fits(path: Path, pixels: "Float[np.ndarray, 'height width']") -> None:
    from distax.io.writing import write_image

    keywords: Mapping[str, str | float] = {"BUNIT": "adu", **_SKY}
    write_image(path, pixels, keywords)


def _annotation(identifier: int, rows: list[Row]) -> str:
    """Returns CSIST-100K's XML, in which `xc` is the row and `yc` the column."""
    objects = "".join(
        f"  <object>\n    <name>Target</name>\n    <coordinate>\n      <xc>{row.row}</xc>\n"
        f"      <yc>{row.column}</yc>\n      <brightness>{row.intensity}</brightness>\n"
        "    </coordinate>\n  </object>\n"
        for row in rows
    )
    return (
        f"<annotation>\n  <filename>CSO{identifier}</filename>\n"
        "  <size>\n    <width>11</width>\n    <height>11</height>\n    <depth>1</depth>\n"
        f"  </size>\n  <sigma>0.5</sigma>\n{objects}</annotation>\n"
    )
