"""What notebooks show, as small HTML tables: targets, unmixers, rows of text."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any, SupportsFloat

import jax
import numpy as np

if TYPE_CHECKING:
    from distax.targets import Targets
    from distax.unmixer import Unmixer

MAX_IMAGES = 5
"""Images whose targets are listed."""

_HEADINGS = ("image", "row / px", "column / px", "intensity / counts", "score", "trusted")


def targets_html(targets: "Targets") -> str | None:
    """The targets of the first images, a row each; None where there are no numbers to show.

    With several batch axes images are numbered as they lie in memory. “–” is what the estimator
    does not say.
    """
    leaves = jax.tree.leaves(targets)
    if not leaves or not all(map(_is_concrete, leaves)):
        return None
    arrays = jax.tree.map(np.asarray, targets)
    batch = arrays.mask.shape[:-1]
    images = math.prod(batch)
    flat = jax.tree.map(lambda leaf: leaf.reshape(images, *leaf.shape[len(batch) :]), arrays)
    listed = range(min(images, MAX_IMAGES))
    rows = [row for image in listed for row in _target_rows(image, _one(flat, image))]
    summary = f"{_counted(images, 'image')}, {_counted(int(flat.mask.sum()), 'target')}"
    if images > MAX_IMAGES:
        summary += f"; the first {MAX_IMAGES} images:"
    return f"<p>{summary}</p>{plain_table(_HEADINGS, rows)}"


def unmixer_html(unmixer: "Unmixer") -> str:
    """What an unmixer finds targets by, and what it takes the images for."""
    facts: dict[str, Any] = {"method": unmixer.method}
    if unmixer.model is not None:
        facts["model"] = type(unmixer.model).__name__
    if unmixer.method == "grid":
        facts["threshold"] = f"{unmixer.threshold:g} counts"
    facts["sensor"] = _settings(unmixer.sensor)
    if unmixer.method in ("refine", "posterior"):
        facts["law"] = _settings(unmixer.law)
    if unmixer.method == "posterior":
        facts |= {"effort": _settings(unmixer.effort), "seed": unmixer.seed}
    return _table([_row("td", fact) for fact in facts.items()])


def plain_table(headings: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table of text with a line of headings."""
    return _table([_row("th", headings), *(_row("td", row) for row in rows)])


def _is_concrete(leaf: Any) -> bool:
    """Whether a leaf holds numbers: those of a function being traced or shaped do not."""
    return isinstance(leaf, np.ndarray | jax.Array) and not isinstance(leaf, jax.core.Tracer)


def _one(targets: "Targets", image: int) -> "Targets":
    return jax.tree.map(lambda leaf: leaf[image, ...], targets)


def _target_rows(image: int, targets: "Targets") -> list[list[object]]:
    """A row for each target of one image, or one that says that there is none."""
    trusted = "–" if targets.trusted is None else "yes" if targets.trusted else "no"
    slots = np.flatnonzero(targets.mask)
    if not len(slots):
        return [[image, "no target", "", "", "", trusted]]
    deviation = targets.position_std
    rows: list[list[object]] = []
    for slot in slots:
        deviations = (None, None) if deviation is None else deviation[slot]
        spread = None if targets.intensity_std is None else targets.intensity_std[slot]
        place = zip(targets.position[slot], deviations, strict=True)
        cells = [_measured(value, error, 3) for value, error in place]
        cells += [_measured(targets.intensity[slot], spread, 1), f"{targets.score[slot]:.3g}"]
        rows.append([image, *cells, trusted])
    return rows


def _measured(value: SupportsFloat, deviation: SupportsFloat | None, digits: int) -> str:
    error = "" if deviation is None else f" ± {float(deviation):.{digits}f}"
    return f"{float(value):.{digits}f}{error}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _settings(values: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(values).items())


def _row(tag: str, cells: Iterable[object]) -> str:
    inner = "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"


def _table(rows: list[str]) -> str:
    return f"<table>{''.join(rows)}</table>"
