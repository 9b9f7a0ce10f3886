"""Reads the published files: `cso_img/image_<id>.png`, `Annotations/CSO<id>.xml` of each split."""

from collections.abc import Iterator

from distax.datasets.annotated import (
    AnnotatedImage,
    Layout,
    read_annotation,
    read_png,
)
from distax.datasets.csist100k.record import make_record
from distax.datasets.storage import Record
from distax.imaging.scenes import IMAGE_SHAPE

LAYOUT = Layout(
    title="CSIST-100K",
    images="cso_img",
    annotations="Annotations",
    prefix="CSO",
    place="train/, val/ and test/",
)


def read_records(pairs: list[AnnotatedImage]) -> Iterator[tuple[int, Record]]:
    """Reads the keys and records of the pairs, in their order.

    Raises:
      DistaxError: a file is unusable; see `read_png` and `read_annotation`.
    """
    for pair in pairs:
        position, intensity = read_annotation(pair.annotation)
        image = read_png(pair.image, IMAGE_SHAPE)
        yield pair.identifier, make_record(pair.identifier, image, position, intensity)
