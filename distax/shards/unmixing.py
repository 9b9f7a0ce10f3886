"""Unmixing of shards into files of results, in portions and on all local devices."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jaxtyping import Float

from distax.fitting.misfit import warn_of_misfits
from distax.imaging.targets import Targets
from distax.runtime.ahead import map_ahead
from distax.runtime.errors import DistaxError, DistaxWarning, unknown
from distax.shards.columns import Columns
from distax.shards.portions import devices_in_turn, unmix_on
from distax.shards.results import FORMATS, Format
from distax.shards.settings import SHARD, claim, describe, name_differences
from distax.shards.sources import PathLike, describe_shard, open_shard, plain_name
from distax.unmixer import Unmixer


@dataclass
class Outcome:
    """Outcome so far of a run over shards.

    Attributes:
      shards: number of shards.
      done: number of shards with results, those of earlier runs included.
      images: number of images that this run unmixed.
      failed: reasons why shards have no results, by shard.
    """

    shards: int
    done: int = 0
    images: int = 0
    failed: dict[epath.Path, str] = field(default_factory=dict)


def unmix_shards(
    unmixer: Unmixer,
    shards: Sequence[PathLike],
    output: PathLike,
    file_format: str = "parquet",
    advance: Callable[[Outcome], object] | None = None,
) -> Outcome:
    """Unmixes shards, and writes a file of results for each.

    Shards that have results are left out, so the same call resumes a run that ended early. Results
    are those of a shard if they are whole, of the same settings, and of a shard of this file name,
    length and CRC-32. No other file is replaced: its shard counts as failed. A shard that cannot be
    read gets no results either. The others are unmixed.

    While the devices compute portions, the next one is read and the previous one is written. No
    further portions are in memory. The local devices take portions in turn; a CPU computes one at a
    time.

    Args:
      unmixer: the unmixer.
      shards: the shards, from `find_shards`.
      output: folder of the results; created if missing.
      file_format: name of a format in `FORMATS`.
      advance: called with the outcome so far after every portion. If it raises, the shard that is
        being written gets no results.

    Raises:
      DistaxError: the folder has no name, holds results of other settings or cannot be written; two
        shards have the same name; the format is unknown, or its package is missing.
    """
    if not os.fspath(output):
        raise DistaxError("the folder of the results has no name; '.' is the present folder")
    if file_format not in FORMATS:
        raise unknown("format", file_format, FORMATS)
    FORMATS[file_format].check()
    targets = _targets(shards, Path(output), FORMATS[file_format].suffix)
    about = describe(unmixer, file_format)
    claim(Path(output), about)
    run = _Run(unmixer, FORMATS[file_format], about, targets, Outcome(len(targets)))
    return run(advance or (lambda outcome: None))


def _targets(shards: Iterable[PathLike], folder: Path, suffix: str) -> dict[epath.Path, Path]:
    """Returns the file of results of each shard."""
    targets: dict[epath.Path, Path] = {}
    taken: dict[Path, epath.Path] = {}
    for shard in map(epath.Path, shards):
        # Unlike `Path.resolve`, `realpath` accepts links in a circle.
        if os.path.realpath(shard.parent) == os.path.realpath(folder):
            raise DistaxError(f"{folder}: holds shards; name another folder for their results")
        target = folder / (plain_name(shard) + suffix)
        if taken.setdefault(target, shard) != shard:
            raise DistaxError(
                f"{taken[target]} and {shard} would both have their results in {target}; rename one"
            )
        targets[shard] = target
    return targets


class _Portion(NamedTuple):
    """A portion of a shard's images and its device, or the reason why they cannot be read."""

    path: epath.Path
    images: Float[np.ndarray, "N height width"] | DistaxError
    device: jax.Device


_NAN = "the method gave a position or an intensity that is NaN or infinite"


def _not_finite(found: Targets) -> list[int]:
    """Lists the images of whose targets one has no finite position or intensity."""
    finite = np.isfinite(found.position).all(axis=-1) & np.isfinite(found.intensity)
    bad: list[int] = np.flatnonzero((found.mask & ~finite).any(axis=-1)).tolist()
    return bad


_Answer = tuple[epath.Path, Columns | DistaxError]
"""A shard, and the answers to a portion of it or the reason why it cannot be read."""


class _UnreadableError(Exception):
    """A shard that cannot be read to its end, so that its results are not kept."""


@dataclass
class _Run:
    """A run over shards.

    Attributes:
      unmixer, format, about: the unmixer, the format and the description of the results.
      targets: file of results of each shard.
      outcome: the outcome so far.
      described: descriptions of the shards that were opened.
      misfits: misfits of the images so far.
    """

    unmixer: Unmixer
    format: Format
    about: Mapping[str, Any]
    targets: Mapping[epath.Path, Path]
    outcome: Outcome
    described: dict[epath.Path, Mapping[str, Any]] = field(default_factory=dict)
    misfits: list[np.ndarray] = field(default_factory=list)

    def __call__(self, advance: Callable[[Outcome], object]) -> Outcome:
        devices = devices_in_turn()
        with closing(map_ahead(self._unmix, self._portions(devices), len(devices))) as answers:
            for path, portions in groupby(answers, key=itemgetter(0)):
                try:
                    self._write(path, portions, advance)
                except _UnreadableError as error:
                    self.outcome.failed[path] = str(error)
                    advance(self.outcome)
        if self.misfits:
            warn_of_misfits(np.concatenate(self.misfits))
        return self.outcome

    def _portions(self, devices: Sequence[jax.Device]) -> Iterator[_Portion]:
        """Yields the portions of all shards without results, each for one of the devices."""
        turn = cycle(devices)
        size = self.unmixer.portion_size
        for path, target in self.targets.items():
            try:
                with open_shard(path, self.unmixer.sensor.shape) as shard:
                    if self._is_done(path, len(shard), target):
                        self.outcome.done += 1
                        continue
                    for start in range(0, len(shard), size):
                        images = shard.read(start, min(start + size, len(shard)))
                        yield _Portion(path, images, next(turn))
            except DistaxError as error:
                yield _Portion(path, error, next(turn))

    def _is_done(self, path: epath.Path, images: int, target: Path) -> bool:
        """Returns True if a shard has results; raises DistaxError if they are not the shard's."""
        if not images:
            raise DistaxError(f"{path}: holds no images")
        self.described[path] = describe_shard(path)
        if not target.exists():
            return False
        stored = self.format.read(target)
        if len(stored.columns) != images:
            raise DistaxError(
                f"{path}: holds {images} images, but {target} has results of "
                f"{len(stored.columns)}; delete that file to unmix the shard again"
            )
        if differing := name_differences(stored.about, self._about(path)):
            raise DistaxError(
                f"{path}: {target} has results of another shard or of other settings "
                f"({differing}); delete that file to unmix the shard again"
            )
        return True

    def _about(self, path: epath.Path) -> Mapping[str, Any]:
        """Describes the results of a shard, by which a later run recognises them."""
        return {**self.about, SHARD: self.described.get(path)}

    def _unmix(self, portion: _Portion) -> _Answer:
        """Unmixes a portion on its device."""
        path, images, device = portion
        if isinstance(images, DistaxError):
            return path, images
        problems = self.unmixer.check(images)
        images = np.array(images)
        images[list(problems)] = 0
        found = jax.tree.map(np.asarray, unmix_on(device, self.unmixer, images))
        return path, Columns.of(found, {**dict.fromkeys(_not_finite(found), _NAN), **problems})

    def _write(
        self, path: epath.Path, answers: Iterable[_Answer], advance: Callable[[Outcome], object]
    ) -> None:
        """Writes the results of a shard; raises `_UnreadableError` if it ends too early."""
        problems: dict[int, str] = {}
        length = 0
        with self.format.writing(self.targets[path], self._about(path)) as write:
            for _, columns in answers:
                if isinstance(columns, DistaxError):
                    raise _UnreadableError(str(columns))
                write(columns)
                problems |= {length + image: text for image, text in columns.problems.items()}
                length += len(columns)
                self.outcome.images += len(columns)
                if (misfit := columns.of_images.get("misfit")) is not None:
                    bad = np.isin(np.arange(len(columns)), list(columns.problems))
                    self.misfits.append(misfit[~bad])
                advance(self.outcome)
        self.outcome.done += 1
        if problems:
            image, problem = next(iter(problems.items()))
            warnings.warn(
                f"{path}: {len(problems)} of {length} images not unmixed, the first of them image "
                f"{image}: {problem}",
                DistaxWarning,
                stacklevel=2,
            )
