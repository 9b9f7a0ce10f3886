"""Views: the pictures and targets of a frame or an image, which a report's script draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets
from distax.viz.ellipses import error_ellipses
from distax.viz.figures import MAX_DEVIATION, compare
from distax.viz.frame_pixels import FramePicture
from distax.viz.overview import SOFTENING
from distax.viz.ranking import best_targets, doubt
from distax.viz.report.png import DIVERGING, GREY, lay_out, tiles_across, to_levels, to_png, to_url
from distax.viz.titles import plural

_GREYS, _HUES = 60, 40
"""Steps of an overview's greys and of a residual's colours. More would code noise, which makes
files larger, and show no more."""


@dataclass(frozen=True)
class View:
    """A frame with close-ups of its blobs, or an image of the sensor's size.

    Attributes:
      title: the view's name, as plain text.
      caption: text below the overview; empty without one.
      overview: PNG of the whole frame; None for an image, whose only close-up shows all of it.
      extent: height and width in pixels of what the overview shows.
      sheets: PNGs of all close-ups, laid out in rows: data, model and residual.
      side: height and width in pixels of a close-up.
      corner: `[B, 2]`, row and column of each close-up's first pixel.
      limits: `[B, 2]`, counts that are black and white in each close-up's data and model.
      names: title of each close-up.
      closeup: `[K]`, number of the close-up that shows each target; -1 for none.
      ellipse: `[K, 3]`, error ellipses, from `ellipses.error_ellipses`; None if not stated.
      doubt: `[K]`, doubt about each target, from `ranking.doubt`.
      order: `[K]`, the targets, most trustworthy first.
      rows: the number of each target's row in its section's table.
    """

    title: str
    caption: str
    overview: bytes | None
    extent: tuple[int, int]
    sheets: tuple[bytes, bytes, bytes]
    side: tuple[int, int]
    corner: Int[np.ndarray, "B 2"]
    limits: Float[np.ndarray, "B 2"]
    names: Sequence[str]
    closeup: Int[np.ndarray, " K"]
    ellipse: Float[np.ndarray, "K 3"] | None
    doubt: Int[np.ndarray, " K"]
    order: Int[np.ndarray, " K"]
    rows: Sequence[int] = ()

    @property
    def size(self) -> int:
        """Bytes of the pictures."""
        return len(self.overview or b"") + sum(map(len, self.sheets))

    @property
    def pictures(self) -> dict[str, str]:
        """Data URLs of the pictures, by the names that the script gives them."""
        named = dict(zip(("data", "model", "residual"), self.sheets, strict=True))
        whole = {"overview": self.overview} if self.overview else {}
        return {name: to_url(png) for name, png in (whole | named).items()}

    @property
    def content(self) -> dict[str, Any]:
        """Everything but the pictures, as plain JSON values."""
        return {
            "title": self.title,
            "caption": self.caption,
            "extent": list(self.extent),
            "side": list(self.side),
            "across": tiles_across(len(self.corner)),
            "corner": self.corner.tolist(),
            "limits": [[float(f"{count:.6g}") for count in pair] for pair in self.limits],
            "names": list(self.names),
            "closeup": self.closeup.tolist(),
            "ellipse": None if self.ellipse is None else np.round(self.ellipse, 4).tolist(),
            "doubt": self.doubt.tolist(),
            "order": self.order.tolist(),
            "rows": list(self.rows),
        }


def frame_view(picture: FramePicture) -> View:
    """Makes the view of a frame and of its close-ups."""
    found, closeups = picture.found, picture.closeups
    members = np.bincount(found.blob, minlength=len(found.blobs.pixel))
    place = np.full(len(members), -1)
    place[closeups.blob] = np.arange(len(closeups.blob))
    low, high = (_compress(count, picture.noise) for count in picture.limits)
    above = _compress(picture.pixels, picture.noise)
    thinned = f" A pixel is the brightest of {picture.step}×{picture.step}." * (picture.step > 1)
    black, white = picture.limits
    covariance = found.targets.covariance
    return View(
        title=picture.name,
        caption=(
            f"Greys run from {black:.3g} to {white:.3g} counts above the background, stretched at "
            f"the dark end.{thinned}"
        ),
        overview=to_png(to_levels(above, low, high, _GREYS), GREY),
        extent=found.background.shape,
        names=[
            f"Blob {blob}: {plural(int(members[blob]), 'target')}"
            for blob in closeups.blob.tolist()
        ],
        closeup=place[found.blob],
        ellipse=None if covariance is None else error_ellipses(covariance),
        doubt=doubt(found.flags),
        order=best_targets(found),
        **_sheets(closeups.data, closeups.model, closeups.deviation),
        corner=closeups.corner,
    )


def _compress(above: Any, noise: float) -> Any:
    """Compresses counts above the background: linear within the noise, logarithmic above it."""
    return np.arcsinh(above / (SOFTENING * noise))


def _sheets(
    data: Float[np.ndarray, "B height width"],
    model: Float[np.ndarray, "B height width"],
    deviation: Float[np.ndarray, "B height width"],
) -> dict[str, Any]:
    """Returns the fields of `View` that hold close-ups, data and model on the same greys."""
    known = np.isfinite(data)
    low = np.min(data, axis=(1, 2), initial=np.inf, where=known)
    high = np.max(data, axis=(1, 2), initial=-np.inf, where=known)
    dark = ~np.any(known, axis=(1, 2))
    limits = np.where(dark[:, None], [0.0, 1.0], np.stack([low, high], axis=-1))
    low, high = limits.T[..., None, None]
    residual = to_levels(deviation, -MAX_DEVIATION, MAX_DEVIATION, _HUES)
    return {
        "sheets": (
            to_png(lay_out(to_levels(data, low, high)), GREY),
            to_png(lay_out(to_levels(model, low, high)), GREY),
            to_png(lay_out(residual), DIVERGING),
        ),
        "side": data.shape[1:],
        "limits": limits,
    }


def image_views(
    images: Float[np.ndarray, "N height width"],
    found: Targets,
    sensor: Sensor,
    names: Sequence[str],
) -> Iterator[View]:
    """Makes a view of each image, with one close-up that shows it whole.

    Args:
      images: images in counts.
      found: targets `[N, K]`.
      sensor: sensor that renders the targets, with clipping but without noise and rounding.
      names: titles of the images.
    """
    images = np.where(np.isfinite(images), images, np.float32(np.nan))
    model, deviation = compare(images, found, sensor)
    found = jax.tree.map(np.asarray, found)
    for row, name in enumerate(names):
        chosen = slice(row, row + 1)
        mask = found.mask[row]
        count, covariance = int(mask.sum()), found.covariance
        trusted = found.trusted is None or bool(found.trusted[row])
        yield View(
            title=name,
            caption="",
            overview=None,
            extent=images.shape[1:],
            names=[f"{name}: {plural(count, 'target')}"],
            closeup=np.zeros(count, int),
            ellipse=None if covariance is None else error_ellipses(covariance[row][mask]),
            doubt=np.full(count, 0 if trusted else 2),
            order=np.argsort(-found.score[row][mask], kind="stable"),
            **_sheets(images[chosen], model[chosen], deviation[chosen]),
            corner=np.zeros((1, 2), int),
        )
