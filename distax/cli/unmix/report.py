"""HTML report of `distax unmix`, with a section of pictures and targets for each file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from distax.cli.unmix.answers import Answer, FrameAnswer, Source
from distax.cli.unmix.tables import table_rows
from distax.runtime.buckets import as_path
from distax.viz.report import Column, Section, View, page

MAX_PICTURES = 40
"""Largest number of images and frames that a report shows. The tables hold the targets of all.

The page embeds the pictures, so with more of them it would be large and slow to open.
"""

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
_COLUMNS_OF_ONE_IMAGE = {name: column for name, column in _COLUMNS.items() if name != "image"}


def unmixing_report(
    answers: Sequence[Answer | FrameAnswer],
    views: Mapping[Source, View],
    header: Mapping[str, str],
) -> str:
    """Returns the report as an HTML page.

    Args:
      answers: answers for images and frames.
      views: views of some of them, by file and image.
      header: facts about all answers, as `Provenance.header` gives them.
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
    sections = [_section(file, some, views) for file, some in by_file.items()]
    return page("Targets found by distax", known, sections)


def _section(
    file: str,
    answers: Sequence[Answer | FrameAnswer],
    views: Mapping[Source, View],
) -> Section:
    shown, rows = [], 0
    for answer in answers:
        if view := views.get((as_path(file), answer.image)):
            shown.append(replace(view, rows=range(rows, rows + len(answer.targets))))
        rows += len(answer.targets)
    facts = {"Targets": str(rows)}
    if len(answers) > 1:
        facts["Images and frames"] = str(len(answers))
    if missing := len(answers) - len(shown):
        facts["Without a picture"] = (
            f"{missing} of {len(answers)} (a report shows at most {MAX_PICTURES}, and fewer if "
            "their pictures are large)"
        )
    for answer in answers:
        facts |= _facts(answer, f" of image {answer.image}" if len(answers) > 1 else "")
    return Section(
        title=file,
        facts=facts,
        views=shown,
        columns=_COLUMNS if len(answers) > 1 else _COLUMNS_OF_ONE_IMAGE,
        rows=[row for answer in answers for row in table_rows(answer)],
    )


def _facts(answer: Answer | FrameAnswer, which: str) -> dict[str, Any]:
    """Returns facts about a frame as a whole; none for an image, whose rows hold all facts."""
    if not isinstance(answer, FrameAnswer):
        return {}
    unit = answer.unit or "counts"
    return {
        f"Frame{which}": f"{answer.height}×{answer.width} px, {answer.blobs} blobs",
        f"Background{which}": f"{answer.background:.4g} ± {answer.noise:.3g} {unit}",
        f"Detection threshold{which}": f"{answer.threshold:.2f} standard deviations",
    }
