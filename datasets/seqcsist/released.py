"""Reads the published files: `image/image_<k>.png` and `annotation/COS<k>.xml` of each split.

The splits are the folders train, val and test in `track_5000_20`. No file says where a sequence
begins: frames are numbered through, and every twenty of them are a sequence.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from distax.datasets.annotated import (
    SPLIT_FOLDERS,
    AnnotatedImage,
    Layout,
    find_pairs,
    read_annotation,
    read_png,
)
from distax.datasets.seqcsist.record import FRAMES, make_record
from distax.datasets.storage import Record
from distax.imaging.scenes import IMAGE_SHAPE
from distax.runtime.errors import DistaxError

TRACKS = "track_5000_20"
"""Folder of the splits."""
LAYOUT = Layout(
    title="SeqCSIST",
    images="image",
    annotations="annotation",
    prefix="COS",
    place=f"{TRACKS}/ with train/, val/ and test/",
    inner=TRACKS,
)


def find_sequences(root: Path, split: str) -> list[list[AnnotatedImage]]:
    """Finds the sequences of a split, each as its frames and their annotations in order.

    Args:
      root: folder that holds `track_5000_20`, or that folder itself.
      split: train, validation or test.

    Raises:
      DistaxError: as `annotated.find_pairs`; or a frame between the first and the last is missing;
        or the frames do not divide into sequences.
    """
    folder = LAYOUT.root(root)
    pairs = find_pairs(folder, split, LAYOUT)
    place = folder / SPLIT_FOLDERS[split]
    first = pairs[0].identifier
    for before, after in pairwise(pairs):
        missing = before.identifier + 1
        if after.identifier != missing:
            sequence, frame = divmod(missing - first, FRAMES)
            raise DistaxError(
                f"{place}: image_{missing}.png and its annotation are missing, frame {frame} of "
                f"sequence {sequence}: unpack the dataset again"
            )
    if len(pairs) % FRAMES:
        raise DistaxError(
            f"{place}: {len(pairs)} frames do not divide into sequences of {FRAMES}, the last has "
            f"only {len(pairs) % FRAMES}: unpack the dataset again"
        )
    return [pairs[start : start + FRAMES] for start in range(0, len(pairs), FRAMES)]


def read_records(sequences: list[list[AnnotatedImage]]) -> Iterator[tuple[int, Record]]:
    """Reads the keys and records of sequences, in their order.

    Raises:
      DistaxError: a file is unusable (see `read_png` and `read_annotation`), or the number of
        targets changes within a sequence.
    """
    for number, pairs in enumerate(sequences):
        truth = [read_annotation(pair.annotation, pair.identifier) for pair in pairs]
        first = len(truth[0][1])
        for pair, (_, intensity) in zip(pairs, truth, strict=True):
            if len(intensity) != first:
                raise DistaxError(
                    f"{pair.annotation} has {len(intensity)} targets, the first frame of its "
                    f"sequence {pairs[0].annotation.name} has {first}: a sequence keeps its "
                    "targets; correct the annotation or remove the sequence"
                )
        position, intensity = map(np.stack, zip(*truth, strict=True))
        frames = np.stack([read_png(pair.image, IMAGE_SHAPE) for pair in pairs])
        yield number, make_record(number, frames, position, intensity)
