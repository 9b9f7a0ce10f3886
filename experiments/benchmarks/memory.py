"""Measures memory and speed of `distax unmix` over many images, and over large frames.

    python experiments/benchmarks/memory.py --files 20000 --images 200000 --side 10000

Images are counted portion by portion. Memory that stays flat after the first portions does not grow
with the number of images. Rates are per second of processor time, which other processes change
less.
"""

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
import tyro

from distax import Sensor, Unmixer, make_targets, render
from distax.cli.options import FrameOptions, Method, PriorOptions
from distax.cli.unmix.answers import State
from distax.cli.unmix.pictures import Pictures
from distax.cli.unmix.runner import Runner, Unmixers
from distax.imaging.scenes import simulate
from distax.runtime.progress import PatientBar
from distax.shards import unmix_shards

SHARD = 10_000
"""Images of a shard."""
STAMP = Sensor(height=13, width=13, sigma=1.3, background=0.0)
"""Part of a frame around a star, without noise."""
NOISE = 5.0
"""Standard deviation of the frames' noise in counts."""


@dataclass(frozen=True)
class Memory:
    """Measure memory over files and over shards.

    Attributes:
      files: number of NPY files of one image each; 0 for none.
      images: number of images in shards of 10,000; 0 for none.
      side: pixels of the largest frame's side; 0 for none. A quarter and half of it come first.
      stars: number of stars of each frame.
      method: method of unmixing.
      portions: number of rows of each table.
    """

    files: int = 20_000
    images: int = 200_000
    side: int = 10_000
    stars: int = 5_000
    method: Method = "fast"
    portions: int = 10


class Table:
    """Prints a row whenever another portion of the images is done.

    Args:
      images: number of images.
      portions: number of portions.
    """

    def __init__(self, images: int, portions: int):
        self._step = self._next = max(1, images // portions)
        self._done, self._start = 0, time.process_time()
        print("| images | images per second | memory / MB | most so far / MB |\n|--:|--:|--:|--:|")

    def __call__(self, done: int) -> None:
        """Takes the number of images done so far."""
        if done < self._next:
            return
        now = time.process_time()
        rate = (done - self._done) / (now - self._start)
        print(f"| {done:,} | {rate:,.0f} | {_resident():,.0f} | {_most():,.0f} |", flush=True)
        self._done, self._start, self._next = done, now, done + self._step


def _resident() -> float:
    """Returns the process's memory in MB, as Linux tells it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _most() -> float:
    """Returns the largest memory of the process so far in MB, as Linux tells it in units of KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _scenes(number: int) -> np.ndarray:
    """Simulates 10,000 images."""
    images, _ = simulate(jax.random.key(number), SHARD)
    return np.asarray(images).astype(np.uint8)


def over_files(folder: Path, options: Memory) -> None:
    """Unmixes files of one image each, as `unmix FOLDER` does."""
    for first in range(0, options.files, SHARD):
        for number, image in enumerate(_scenes(first)[: options.files - first], first):
            np.save(folder / f"{number:07d}.npy", image)
    runner = _runner(sorted(folder.iterdir()), FrameOptions(), options.method)
    table = Table(options.files, options.portions)
    with PatientBar("file", options.files) as bar:
        runner.run(lambda: False, lambda: table(len(runner.answers)), bar)
    table(len(runner.answers))


def _runner(paths: list[Path], frame: FrameOptions, method: Method | None) -> Runner:
    unmixers = Unmixers(method, None, None, None, PriorOptions(), frame)
    files: dict[Path, State] = dict.fromkeys(paths, "unfinished")
    return Runner(unmixers, Pictures(figure=None, report=None), None, files)


def _write_frame(path: Path, side: int, stars: int) -> None:
    """Writes a frame of noise and stars at random places."""
    rng = np.random.default_rng(0)
    frame = np.lib.format.open_memmap(path, "w+", np.float32, (side, side))
    for row in frame:
        row[:] = rng.normal(100.0, NOISE, side)
    centre = STAMP.height // 2
    places = rng.integers(0, side - STAMP.height, (stars, 2))
    offsets = rng.uniform(-0.5, 0.5, (stars, 1, 2)) + centre
    flux = rng.uniform(1e3, 1e4, (stars, 1))
    stamps = jax.jit(render, static_argnums=1)(make_targets(offsets, flux), STAMP)
    for (row, column), stamp in zip(places, np.asarray(stamps), strict=True):
        frame[row : row + STAMP.height, column : column + STAMP.width] += stamp
    frame.flush()


def over_frames(folder: Path, options: Memory) -> None:
    """Unmixes frames of several sizes with the same stars, as `unmix FRAME` does."""
    print(
        "| pixels | stars | answers | seconds of the processor | memory / MB | most so far / MB |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for side in (options.side // 4, options.side // 2, options.side):
        path = folder / f"{side}.npy"
        _write_frame(path, side, options.stars)
        start = time.process_time()
        runner = _runner([path], FrameOptions(sigma=1.3, read_noise=NOISE), None)
        with PatientBar("file", 1) as bar:
            runner.run(lambda: False, lambda: None, bar)
        seconds = time.process_time() - start
        (answer,) = runner.answers.values()
        print(
            f"| {side:,}×{side:,} | {options.stars:,} | {len(answer.targets or ()):,} | "
            f"{seconds:,.0f} | {_resident():,.0f} | {_most():,.0f} |",
            flush=True,
        )


def over_shards(folder: Path, options: Memory) -> None:
    """Unmixes shards, as `unmix FOLDER --output` does."""
    shards = []
    for number in range(-(-options.images // SHARD)):
        shards.append(folder / f"{number:05d}.npy")
        np.save(shards[-1], _scenes(number))
    unmixer = Unmixer(method=options.method)
    table = Table(options.images, options.portions)
    unmix_shards(unmixer, shards, folder / "results", advance=lambda now: table(now.images))


def main(options: Memory) -> None:
    """Prints a table for files, one for shards and one for frames."""
    for title, number, work in (
        (f"files, method {options.method}", options.files, over_files),
        (f"shards, method {options.method}", options.images, over_shards),
        ("frames", options.side, over_frames),
    ):
        if number:
            print(f"\n{title}\n")
            with TemporaryDirectory() as folder:
                work(Path(folder), options)


if __name__ == "__main__":
    main(tyro.cli(Memory))
