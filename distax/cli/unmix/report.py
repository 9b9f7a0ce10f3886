"""A report on what `distax unmix` found: a section a file, with its pictures and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distax.cli.unmix.answers import Answer, FrameAnswer
from distax.cli.unmix.tables import rows_of
from distax.viz.report import Column, Picture, Section, page

MAX_PICTURES = 40
"""Images and frames of which a report has pictures; the targets of all are in its tables."""

_COLUMNS = {
    "image": Column("image", "d"),
    "blob": Column("blob", "d"),
    "row": Column("row / px", ".3f"),
    "row_std": Column("± row / px", ".3f"),
    "column": Column("column / px", ".3f"),
    "column_std": Column("± column / px", ".3f"),
    "intensity": Column("intensity", ".1f"),
    "intensity_std": Column("± intensity", ".1f"),
    "score": Column("score", ".3g"),
    "count_probability": Column("count probability", ".3f"),
    "misfit": Column("misfit", ".2f"),
    "ra": Column("RA / °", ".6f"),
    "dec": Column("Dec / °", ".6f"),
    "flags": Column("flags"),
}
_OF_ONE_IMAGE = {name: column for name, column in _COLUMNS.items() if name != "image"}


def unmixing_report(
    answers: Sequence[Answer | FrameAnswer],
    pictures: Mapping[tuple[Path, int], Picture],
    header: Mapping[str, str],
) -> str:
    """The HTML page of a report.

    Args:
      answers: to images and frames.
      pictures: of some of them, by file and number in it.
      header: what is said of all answers, as `Means.header` gives it.
    """
    import jax
    import numpy as np

    by_file: dict[str, list[Answer | FrameAnswer]] = {}
    for answer in answers:
        by_file.setdefault(answer.file, []).append(answer)
    targets = sum(len(answer.targets) for answer in answers)
    facts = {
        "Files": str(len(by_file)),
        "Images and frames": str(len(answers)),
        "Targets": str(targets),
        "Method": header["METHOD"],
        "Sensor": header["SENSOR"],
        "Threshold": header["THRESH"],
        "Versions": f"distax {header['DISTAX']}, JAX {jax.__version__}, NumPy {np.__version__}",
    }
    known = {name: value for name, value in facts.items() if value}
    sections = [_section(file, some, pictures) for file, some in by_file.items()]
    return page("Targets found by distax", known, sections)


def _section(
    file: str,
    answers: Sequence[Answer | FrameAnswer],
    pictures: Mapping[tuple[Path, int], Picture],
) -> Section:
    shown = [pictures.get((Path(file), answer.image)) for answer in answers]
    facts = {"Targets": str(sum(len(answer.targets) for answer in answers))}
    if len(answers) > 1:
        facts["Images"] = str(len(answers))
    if missing := shown.count(None):
        facts["Without a picture"] = f"{missing} of {len(answers)} (a report has {MAX_PICTURES})"
    for answer in answers:
        facts |= _facts(answer, f" of image {answer.image}" if len(answers) > 1 else "")
    return Section(
        title=file,
        facts=facts,
        pictures=[
            replace(picture, caption=f"Image {answer.image}. {picture.caption}")
            for answer, picture in zip(answers, shown, strict=True)
            if picture
        ],
        columns=_COLUMNS if len(answers) > 1 else _OF_ONE_IMAGE,
        rows=[row for answer in answers for row in rows_of(answer)],
    )


def _facts(answer: Answer | FrameAnswer, which: str) -> dict[str, Any]:
    """What is known of a frame as a whole; an image says everything in its targets' rows."""
    if not isinstance(answer, FrameAnswer):
        return {}
    unit = answer.unit or "counts"
    return {
        f"Frame{which}": f"{answer.height}×{answer.width} px, {answer.blobs} blobs",
        f"Background{which}": f"{answer.background:.4g} ± {answer.noise:.3g} {unit}",
        f"Threshold{which}": f"{answer.threshold:.2f} standard deviations",
    }
