"""The tracks of a sequence, as a table, CSV, JSON and a picture."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.table import Table

from distax.cli.console import wide_console
from distax.imaging.targets import Targets
from distax.tracking import Tracks
from distax.viz.figures import save_figure


@dataclass(frozen=True)
class Point:
    """A target in one frame: position in pixels, velocity in px per frame.

    `detected` is False where the frame alone does not show the target and the others tell where
    it is.
    """

    frame: int
    row: float
    column: float
    row_std: float
    column_std: float
    row_velocity: float
    column_velocity: float
    detected: bool


@dataclass(frozen=True)
class Trajectory:
    """One track: its number, the mean of its intensity in counts, and where it leads."""

    track: int
    intensity: float
    points: tuple[Point, ...]


def paths_of(tracks: Tracks) -> list[Trajectory]:
    """The tracks of the first sequence."""
    import jax

    first = jax.tree.map(lambda leaf: np.asarray(leaf[0]), tracks)
    slots = np.flatnonzero(np.asarray(first.exists))
    return [_path(first, number, int(slot)) for number, slot in enumerate(slots)]


def _path(tracks: Tracks, number: int, slot: int) -> Trajectory:
    targets, spread = tracks.targets, np.asarray(tracks.targets.position_std)
    frames = np.flatnonzero(targets.mask[:, slot])
    points = tuple(
        Point(
            frame=int(frame),
            row=float(targets.position[frame, slot, 0]),
            column=float(targets.position[frame, slot, 1]),
            row_std=float(spread[frame, slot, 0]),
            column_std=float(spread[frame, slot, 1]),
            row_velocity=float(tracks.velocity[frame, slot, 0]),
            column_velocity=float(tracks.velocity[frame, slot, 1]),
            detected=bool(tracks.detection[frame, slot] >= 0),
        )
        for frame in frames
    )
    return Trajectory(number, float(targets.intensity[frames[0], slot]), points)


def print_table(paths: Sequence[Trajectory]) -> None:
    """Print a row a track."""
    table = Table(
        *("track", "frames", "detected in", "row / px", "column / px"),
        *("row / px per frame", "column / px per frame", "intensity"),
    )
    for path in paths:
        first, last = path.points[0], path.points[-1]
        table.add_row(
            str(path.track),
            f"{first.frame} to {last.frame}",
            str(sum(point.detected for point in path.points)),
            f"{first.row:.3f} to {last.row:.3f}",
            f"{first.column:.3f} to {last.column:.3f}",
            f"{last.row_velocity:+.4f}",
            f"{last.column_velocity:+.4f}",
            f"{path.intensity:.1f}",
        )
    if not paths:
        table.add_row("no track")
    wide_console().print(table)


def to_csv(paths: Sequence[Trajectory]) -> str:
    """A line a track and frame under a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["track", *(field.name for field in fields(Point)), "intensity"])
    for path in paths:
        for point in path.points:
            writer.writerow([path.track, *asdict(point).values(), path.intensity])
    return text.getvalue()


def to_json(paths: Sequence[Trajectory]) -> str:
    """A list of tracks, each with its list of points."""
    return json.dumps([asdict(path) for path in paths], indent=2) + "\n"


def draw_paths(
    picture: Path,
    frames: Float[np.ndarray, "T height width"],
    found: Targets,
    paths: Sequence[Trajectory],
) -> None:
    """The mean of the frames, what was found in each, and the tracks through it.

    Raises:
      DistaxError: a suffix that names no format of pictures, or it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    ax = figure.subplots()
    # Without the warning that numpy's own mean gives of pixels that are bad in all frames.
    shown = ax.imshow(np.ma.masked_invalid(frames).mean(axis=0), cmap="gray")
    figure.colorbar(shown, label="mean counts")
    position = np.asarray(found.position)[np.asarray(found.mask)]
    ax.scatter(position[:, 1], position[:, 0], s=4, color="gold", label="found in single frames")
    for path in paths:
        rows = [point.row for point in path.points]
        columns = [point.column for point in path.points]
        (line,) = ax.plot(columns, rows, linewidth=1.5, label=f"track {path.track}")
        ax.plot(columns[-1], rows[-1], "o", color=line.get_color(), markersize=5)
    ax.set(xlabel="column / px", ylabel="row / px", title="tracks, a dot at their ends")
    if len(position):
        low, high = position.min(axis=0) - 1, position.max(axis=0) + 1
        ax.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]))
    ax.legend(fontsize="small")
    save_figure(picture, figure)
