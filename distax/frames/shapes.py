"""Shapes of blobs: point-like ones, extended ones, and parts of edges, lines and bright pixels.

The fit of point targets to a blob is compared with fits of other shapes to the same pixels: a spot
wider than the PSF, lines and edges in several directions, a single pixel. Each has a constant and a
gradient of its own. A cluster of unresolved targets is no template. Its own fit stands for it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from distax.fitting.misfit import TRUSTED_MISFIT
from distax.frames.cutouts import Cutouts
from distax.frames.detection import Noise
from distax.frames.spots import refine_spots
from distax.frames.templates import (
    KINDS,
    PARAMETERS,
    Kind,
    fit_templates,
    gaussian,
    make_templates,
    squares_about_plane,
)
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets

_RELATIVE = 0.03
"""Error of every model relative to the brightest pixel. Bright blobs depart from any model by more
than their noise, and would else be told apart by how little."""
_POINTS_FIRST = 1.5, 6.0
"""Logarithm of the odds of points to lines and edges, in a textured frame and in another."""
_WIDER = 1.4
"""Least width of an extended blob relative to the PSF. Narrower ones may be clusters of points."""
_BETTER = 2.0, 10.0
"""Logarithm of the odds above which a spot replaces point targets, if the PSF's width is not known
and if it is. Smaller values take clusters for spots."""

_ALIKE = 3.0
"""Logarithm of the odds of other answers to a spot up to which it is preferred in texture, which
makes several targets of one. A larger value takes more pairs for one target."""
_PIXEL = 5.0
"""Logarithm of the odds above which a blob counts as a single bright pixel. Faint stars in the
middle of a pixel have lower ones."""


@dataclass(frozen=True)
class Shapes:
    """Shapes of the blobs of a frame.

    Attributes:
      probability: `[B]`, probability that the blob is a point, a cluster of points or a spot, and
        no part of a line or an edge.
      bright_pixel: `[B]`, True if a single pixel explains the blob better than the PSF.
      single: `[B]`, True for blobs that one spot explains better than the fitted targets do.
      extended: `[B]`, True for those of them that are wider than the PSF.
      place, width: `[B, 2]`, row and column of the spot in the frame, and its standard deviations
        in pixels.
      flux, flux_std: `[B]`, its flux in counts and standard deviation.
      place_std: `[B, 2]`, standard deviations of its row and column.
      misfit: `[B]`, root-mean-square residual of the spot in units of the noise.
      explained: `[B]`, True if the spot explains the blob within its noise and the error that every
        model has.
    """

    probability: Float[np.ndarray, " B"]
    bright_pixel: Bool[np.ndarray, " B"]
    single: Bool[np.ndarray, " B"]
    extended: Bool[np.ndarray, " B"]
    place: Float[np.ndarray, "B 2"]
    width: Float[np.ndarray, "B 2"]
    flux: Float[np.ndarray, " B"]
    flux_std: Float[np.ndarray, " B"]
    place_std: Float[np.ndarray, "B 2"]
    misfit: Float[np.ndarray, " B"]
    explained: Bool[np.ndarray, " B"]

    def among(self, chosen: Bool[np.ndarray, " N"]) -> "Shapes":
        """Returns these shapes among those of further blobs, which are points.

        Args:
          chosen: True for the blobs whose shapes these are.
        """
        whole = {}
        for name, values in vars(self).items():
            fill = 1.0 if name == "probability" else 0
            every = np.full((len(chosen), *values.shape[1:]), fill, values.dtype)
            every[chosen] = values
            whole[name] = every
        return Shapes(**whole)


def measure_shapes(
    cutouts: Cutouts,
    targets: Targets,
    blob: Int[np.ndarray, " K"],
    sensor: Sensor,
    noise: Noise,
    width_known: bool,
) -> Shapes:
    """Measures the shapes of blobs.

    The evidence of a fit is −χ²/2 − k log(n)/2 with its k parameters and the window's n pixels
    (Schwarz, Ann. Stat. 6, 461, 1978). If no fit explains a blob, its noise is taken to be as large
    as the best residual.

    Args:
      cutouts: windows around the blobs, with NaN for pixels that are left out.
      targets: targets found in the blobs, in frame coordinates and counts.
      blob: index of each target's blob.
      sensor: the sensor, for its Gaussian PSF.
      noise: kind of the noise. In texture lines and edges are as likely as points, and one target
        as likely as several.
      width_known: True if the PSF's width is given or measured, so that a wider blob is doubtful.
    """
    number, side = len(cutouts.pixel), cutouts.counts.shape[-1]
    structured = noise in ("textured", "correlated")
    templates = make_templates(side, sensor.sigma)
    known = (np.isfinite(cutouts.counts) & ~cutouts.clipped).reshape(number, side**2)
    counts = np.where(known, cutouts.counts.reshape(number, side**2), 0.0)
    peak = np.max(np.abs(counts), axis=1, initial=0.0, keepdims=True)
    variance = cutouts.noise.reshape(number, side**2) ** 2 + (_RELATIVE * peak) ** 2
    weight = np.where(known, 1.0 / variance, 0.0)
    fits = fit_templates(templates, counts, weight)
    pixels = np.maximum(fits.pixels, 1)
    best: dict[Kind, np.ndarray] = {kind: fits.best(templates, kind) for kind in KINDS}
    every = np.arange(number)

    def evidence(squares: np.ndarray, parameters: np.ndarray | int) -> Float[np.ndarray, " B"]:
        return -0.5 * squares - 0.5 * parameters * np.log(pixels)

    left = {kind: fits.squares - fits.explained[every, at] for kind, at in best.items()}
    members = np.bincount(blob, minlength=number)
    model = _model(targets, blob, cutouts, sensor)
    cluster = np.where(members > 0, squares_about_plane(counts - model, weight), fits.squares)
    of = {kind: evidence(left[kind], PARAMETERS[kind]) for kind in best}
    of_cluster = evidence(cluster, 3 * members)
    least = np.minimum.reduce([cluster, *left.values()])
    temperature = np.maximum(least / np.maximum(pixels - 7, 1), 1.0)
    compact = np.maximum.reduce([of_cluster, of["point"], of["spot"]])
    odd = np.maximum.reduce([of["line"], of["edge"], of["corner"]])
    prior = _POINTS_FIRST[int(noise != "textured")]
    probability = 1 / (1 + np.exp(-np.clip((compact - odd) / temperature + prior, -50, 50)))
    others = np.minimum.reduce([cluster, *(left[kind] for kind in KINDS if kind != "pixel")])
    bright = 0.5 * (others - left["pixel"])
    one = np.where(of["spot"] > of["point"], best["spot"], best["point"])
    spot = refine_spots(counts, weight, templates.place[one], templates.width[one])
    of_one = np.maximum(evidence(spot.squares, PARAMETERS["spot"]), of["point"])
    # A known PSF gives no credit for the fewer parameters of a spot that it cannot make.
    credit = (
        of_one - of_cluster if not width_known or structured else 0.5 * (cluster - spot.squares)
    )
    better = credit / temperature
    wide = np.sqrt(np.prod(spot.width / np.array(sensor.sigmas, float), axis=1))
    extended = wide >= _WIDER
    single = extended & (better > _BETTER[int(width_known)])
    if noise == "textured":
        single = better > -_ALIKE
    elif noise == "correlated":
        single |= (members <= 1) & (better > -_ALIKE)
    off = np.sqrt(np.maximum(spot.squares, 0.0) / pixels)
    error = np.maximum(off, 1.0) * spot.flux_std
    of_noise = np.where(known, spot.residual**2, 0.0) / cutouts.noise.reshape(number, side**2) ** 2
    centre = np.rint(spot.place).astype(int) + side // 2
    beyond = single & ~cutouts.inside[every, centre[:, 0], centre[:, 1]]
    return Shapes(
        probability=np.where(beyond, 0.0, probability),
        bright_pixel=bright / temperature > _PIXEL,
        single=single,
        extended=single & extended,
        place=spot.place + cutouts.pixel,
        width=spot.width,
        flux=spot.flux,
        flux_std=error,
        place_std=spot.width * (error / np.maximum(spot.flux, 1e-30))[:, None],
        misfit=np.sqrt(np.sum(of_noise, axis=1) / pixels),
        explained=off < TRUSTED_MISFIT,
    )


def _model(
    targets: Targets, blob: Int[np.ndarray, " K"], cutouts: Cutouts, sensor: Sensor
) -> Float[np.ndarray, "B P"]:
    """Renders the targets of each blob in its window."""
    side = cutouts.counts.shape[-1]
    model = np.zeros((len(cutouts.pixel), side**2))
    place = targets.position - cutouts.pixel[blob]
    width = np.broadcast_to(np.array(sensor.sigmas, float), place.shape)
    flux = np.asarray(targets.intensity, float)[:, None]
    np.add.at(model, blob, flux * gaussian(side, place, width))
    return model
