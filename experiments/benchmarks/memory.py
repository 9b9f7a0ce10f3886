"""Measures memory and speed of `distax unmix` over many images, portion by portion.

    python experiments/benchmarks/memory.py --files 20000 --images 200000

Memory that stays flat after the first portions does not grow with the number of images. Rates are
per second of processor time, which other processes change less.
"""

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
import tyro

from distax import Unmixer
from distax.cli.options import FrameOptions, Method, PriorOptions
from distax.cli.unmix.answers import State
from distax.cli.unmix.pictures import Pictures
from distax.cli.unmix.runner import Runner, Unmixers
from distax.imaging.scenes import simulate
from distax.runtime.progress import PatientBar
from distax.shards import unmix_shards

SHARD = 10_000
"""Images of a shard."""


@dataclass(frozen=True)
class Memory:
    """Measure memory over files and over shards.

    Attributes:
      files: number of NPY files of one image each; 0 for none.
      images: number of images in shards of 10,000; 0 for none.
      method: method of unmixing.
      portions: number of rows of each table.
    """

    files: int = 20_000
    images: int = 200_000
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
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"| {done:,} | {rate:,.0f} | {_resident():,.0f} | {most:,.0f} |", flush=True)
        self._done, self._start, self._next = done, now, done + self._step


def _resident() -> float:
    """Returns the process's memory in MB, as Linux tells it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _scenes(number: int) -> np.ndarray:
    """Simulates 10,000 images."""
    images, _ = simulate(jax.random.key(number), SHARD)
    return np.asarray(images).astype(np.uint8)


def over_files(folder: Path, options: Memory) -> None:
    """Unmixes files of one image each, as `unmix FOLDER` does."""
    for first in range(0, options.files, SHARD):
        for number, image in enumerate(_scenes(first)[: options.files - first], first):
            np.save(folder / f"{number:07d}.npy", image)
    unmixers = Unmixers(options.method, None, None, None, PriorOptions(), FrameOptions())
    files: dict[Path, State] = dict.fromkeys(sorted(folder.iterdir()), "unfinished")
    runner = Runner(unmixers, Pictures(figure=None, report=None), None, files)
    table = Table(options.files, options.portions)
    with PatientBar("file", len(files)) as bar:
        runner.run(lambda: False, lambda: table(len(runner.answers)), bar)
    table(len(runner.answers))


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
    """Prints a table for files and one for shards."""
    for title, images, work in (
        ("files", options.files, over_files),
        ("shards", options.images, over_shards),
    ):
        if images:
            print(f"\n{title}, method {options.method}\n")
            with TemporaryDirectory() as folder:
                work(Path(folder), options)


if __name__ == "__main__":
    main(tyro.cli(Memory))
