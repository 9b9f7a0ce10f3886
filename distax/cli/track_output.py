"""Tracks of a sequence as a table, CSV, JSON and a figure."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.table import Table

from distax.cli.console import wide_console
from distax.imaging.targets import Targets
from distax.runtime.optional import require
from distax.runtime.plain_json import format_json
from distax.tracking import FrameTracks, Shifts, Tracks
from distax.viz.figures import save_figure

_NAMED = 12
"""Largest number of tracks in the legend of a figure. More would cover the frame."""


@dataclass(frozen=True)
class Point:
    """State of a target in one frame, smoothed over all frames.

    Attributes:
      frame: number of the frame, from 0.
      row, column: position in pixels.
      row_std, column_std: standard deviations of the position in pixels.
      row_velocity, column_velocity: velocity in px per frame, without the camera's motion.
      row_velocity_std, column_velocity_std: their standard deviations.
      detected: False if the target was not found in this frame, so that the position comes from the
        other frames alone.
    """

    frame: int
    row: float
    column: float
    row_std: float
    column_std: float
    row_velocity: float
    column_velocity: float
    row_velocity_std: float
    column_velocity_std: float
    detected: bool


@dataclass(frozen=True)
class Trajectory:
    """Track of one target.

    Attributes:
      track: number of the track, from 0.
      intensity: mean intensity in counts.
      points: state in each frame from the first to the last.
      score: expected share of hits times the share of frames with a detection, from 0 to 1.
      misfit: root-mean-square residual of the detections in units of their errors, about 1 where
        these and the motion model hold; None for images of the sensor's size.
      trusted: share of the detections that the imaging model explains; None likewise.
    """

    track: int
    intensity: float
    points: tuple[Point, ...]
    score: float
    misfit: float | None = None
    trusted: float | None = None


@dataclass(frozen=True)
class CameraPoint:
    """Camera's shift in one whole frame.

    Attributes:
      frame: number of the frame, from 0.
      file: its file.
      image: its number in that file, from 0.
      row, column: shift of the frame's content in pixels.
      row_std, column_std: standard deviations of the shift.
    """

    frame: int
    file: str
    image: int
    row: float
    column: float
    row_std: float
    column_std: float


@dataclass(frozen=True)
class Camera:
    """Camera's shift in each whole frame.

    Attributes:
      source: "targets", "scene" or "none", as `tracking.Shifts` has it.
      frames: shift in each frame.
    """

    source: str
    frames: tuple[CameraPoint, ...]

    @property
    def line(self) -> str:
        """The size of the shifts in one line of text."""
        if self.source == "none":
            return "camera: taken to stand still"
        shift = np.array([[point.row, point.column] for point in self.frames])
        if not shift.any():
            return f"camera: the {self.source} show no shift"
        row, column = np.std(shift, axis=0)
        return (
            f"camera: shifts with a standard deviation of {row:.3f} px in rows and {column:.3f} px "
            f"in columns, from the {self.source}"
        )


def trajectories(tracks: Tracks, first_frame: int = 0) -> list[Trajectory]:
    """Returns the tracks of the first sequence of a batch.

    Args:
      tracks: the tracks.
      first_frame: number of the first frame that the tracks have.
    """
    import jax

    first = jax.tree.map(lambda leaf: np.asarray(leaf[0]), tracks)
    slots = np.flatnonzero(np.asarray(first.exists))
    return [_trajectory(first, number, int(slot), first_frame) for number, slot in enumerate(slots)]


def trajectories_of_frames(found: FrameTracks) -> list[Trajectory]:
    """Returns the tracks through whole frames."""
    return [
        replace(
            _trajectory(found.tracks, slot, slot),
            misfit=float(found.misfit[slot]),
            trusted=float(found.trusted[slot]),
        )
        for slot in range(len(found.misfit))
    ]


def camera_course(shifts: Shifts, sources: Sequence[tuple[Path, int]]) -> Camera:
    """Returns the camera's shifts with the file of each frame, as CSV and JSON hold them.

    Args:
      shifts: the shifts.
      sources: file of each frame, and its number in that file.
    """
    values = np.concatenate([shifts.shift, shifts.std], axis=1).tolist()
    points = [
        CameraPoint(frame, str(path), image, *row)
        for frame, ((path, image), row) in enumerate(zip(sources, values, strict=True))
    ]
    return Camera(shifts.source, tuple(points))


def _trajectory(tracks: Tracks, number: int, slot: int, first_frame: int = 0) -> Trajectory:
    targets, spread = tracks.targets, np.asarray(tracks.targets.position_std)
    drift = np.sqrt(np.diagonal(np.asarray(tracks.velocity_covariance), axis1=-2, axis2=-1))
    frames = np.flatnonzero(targets.mask[:, slot])
    points = tuple(
        Point(
            frame=first_frame + int(frame),
            row=float(targets.position[frame, slot, 0]),
            column=float(targets.position[frame, slot, 1]),
            row_std=float(spread[frame, slot, 0]),
            column_std=float(spread[frame, slot, 1]),
            row_velocity=float(tracks.velocity[frame, slot, 0]),
            column_velocity=float(tracks.velocity[frame, slot, 1]),
            row_velocity_std=float(drift[frame, slot, 0]),
            column_velocity_std=float(drift[frame, slot, 1]),
            detected=bool(tracks.detection[frame, slot] >= 0),
        )
        for frame in frames
    )
    first = frames[0], slot
    return Trajectory(
        number, float(targets.intensity[first]), points, float(np.asarray(targets.score)[first])
    )


def print_table(tracks: Sequence[Trajectory]) -> None:
    """Prints one row per track."""
    table = Table(
        *("track", "frames", "detected in", "row / px", "column / px"),
        *("row / px per frame", "column / px per frame", "intensity"),
    )
    for track in tracks:
        first, last = track.points[0], track.points[-1]
        table.add_row(
            str(track.track),
            f"{first.frame} to {last.frame}",
            str(sum(point.detected for point in track.points)),
            f"{first.row:.3f} to {last.row:.3f}",
            f"{first.column:.3f} to {last.column:.3f}",
            f"{last.row_velocity:+.4f}",
            f"{last.column_velocity:+.4f}",
            f"{track.intensity:.1f}",
        )
    if not tracks:
        table.add_row("no track")
    wide_console().print(table)


def to_csv(tracks: Sequence[Trajectory], camera: Camera | None = None) -> str:
    """Returns CSV text with a header line and one line for each track and frame.

    Args:
      tracks: the tracks.
      camera: the camera's shifts, written to two more columns; None for no such columns.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    shift = ["camera_row", "camera_column"] if camera else []
    writer.writerow(["track", *(field.name for field in fields(Point)), *shift, "intensity"])
    for track in tracks:
        for point in track.points:
            at = camera and camera.frames[point.frame]
            values = [at.row, at.column] if at else []
            writer.writerow([track.track, *asdict(point).values(), *values, track.intensity])
    return text.getvalue()


def to_json(
    tracks: Sequence[Trajectory], assumed: Mapping[str, Any], camera: Camera | None = None
) -> str:
    """Returns JSON text: the method and settings, and a list of tracks with their points.

    Args:
      tracks: the tracks.
      assumed: method and settings.
      camera: the camera's shifts, written under `camera`; None leaves them out.
    """
    content = {"assumed": assumed, "tracks": [asdict(track) for track in tracks]}
    about = {"camera": asdict(camera)} if camera else {}
    return format_json("the tracks", content | about, indent=2) + "\n"


def draw_trajectories(
    picture: Path,
    frames: Float[np.ndarray, "T height width"],
    found: Targets,
    tracks: Sequence[Trajectory],
) -> None:
    """Draws the mean of the frames, the detections of all frames and the tracks.

    Args:
      picture: file to write (PNG, PDF or SVG).
      frames: frames in raw counts, or their mean as a single one; NaN marks bad pixels.
      found: targets of each frame, before tracking.
      tracks: tracks to draw.

    Raises:
      DistaxError: the suffix is not that of a picture, matplotlib is not installed, or the file
        cannot be written.
    """
    require("matplotlib", "figures")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    ax = figure.subplots()
    # np.nanmean would warn of pixels that are bad in all frames.
    shown = ax.imshow(np.ma.masked_invalid(frames).mean(axis=0), cmap="gray")
    figure.colorbar(shown, label="mean counts")
    position = np.asarray(found.position)[np.asarray(found.mask)]
    ax.scatter(position[:, 1], position[:, 0], s=4, color="gold", label="found in single frames")
    for track in tracks:
        rows = [point.row for point in track.points]
        columns = [point.column for point in track.points]
        label = f"track {track.track}" if track.track < _NAMED else None
        (line,) = ax.plot(columns, rows, linewidth=1.5, label=label)
        ax.plot(columns[-1], rows[-1], "o", color=line.get_color(), markersize=5)
    ax.set(xlabel="column / px", ylabel="row / px", title="tracks, with a dot at the end")
    if len(position):
        low, high = position.min(axis=0) - 1, position.max(axis=0) + 1
        ax.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]))
    ax.legend(fontsize="small")
    save_figure(picture, figure)
