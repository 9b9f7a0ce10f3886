"""Second look at crowded blobs: joint fits, and targets that the light of others had hidden."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from distax.fitting.misfit import TRUSTED_MISFIT
from distax.fitting.refine import TRUSTED_COUNT
from distax.frames.cutouts import Cutouts
from distax.frames.detection import Detection
from distax.frames.joint_answers import count_probability, targets_of
from distax.frames.judging import Fits
from distax.frames.light import ground_of, light_of
from distax.frames.looks import Look, Scene
from distax.frames.merging import flags_of_windows
from distax.frames.targets import Flag
from distax.imaging.sensor import Sensor
from distax.imaging.targets import OF_TARGETS, Targets

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Looked:
    """Fits of a frame's blobs, with the windows that they explain.

    Attributes:
      fits: the fits.
      around: `[B]`, windows around the blobs.
      level: `[B]`, correction in counts of the background's map around each blob.
    """

    fits: Fits
    around: Cutouts
    level: Float[np.ndarray, " B"]


def look_again(
    first: Looked, windows: Cutouts, detection: Detection, sensor: Sensor, width: int
) -> Looked:
    """Fits crowded blobs jointly, and finds the targets that are left in the residual.

    A blob is crowded if its window overlaps with another's, if the light of others reaches it, or
    if a significant peak is left in its residual. The targets of all crowded blobs are fitted at
    once, so that each is free of the others' light. Targets that the fit can do without are
    dropped. Peaks of the residual are further blobs (Stetson, PASP 99, 191, 1987). The level of the
    background is measured anew in the residual. Blobs that are not crowded keep their answers.
    In textured frames all do.

    Args:
      first: the fits of each window alone.
      windows: windows around the blobs, without pixels left out.
      detection: the sky and the threshold.
      sensor: the sensor.
      width: width in pixels of the windows' middles that were fitted.

    Returns:
      The fits of all blobs, the most significant first. The windows of crowded ones are without the
      light of other blobs.
    """
    if detection.kind == "textured" or not len(first.fits.blob):
        return first
    every = _scene(first.fits, windows, detection.sky.shape)
    look = Look(detection.threshold, sensor, width, windows.counts.shape[-1])
    crowded = look.crowded(every, first.level) | (first.fits.flags & int(Flag.CROWDED) > 0)
    if not crowded.any():
        return first
    scene = look.settled(_only(every, crowded, windows, sensor))
    found = _answers(scene, look, first.fits.flags[crowded])
    return _merged(first, found, np.flatnonzero(crowded))


def without_pieces(
    fits: Fits, windows: Cutouts, detection: Detection, sensor: Sensor, width: int
) -> Fits:
    """Takes trust from blobs of which targets may be pieces of a bright one.

    Under a PSF that is not exact the fit of a bright target leaves a residual, which further
    targets then explain. A blob keeps trust if all its targets would be found in the noise that
    such a PSF adds.

    Args:
      fits: the fits of each window.
      windows: windows around the blobs, without pixels left out.
      detection: the sky and the threshold.
      sensor: the sensor.
      width: width in pixels of the windows' middles that were fitted.
    """
    look = Look(detection.threshold, sensor, width, windows.counts.shape[-1])
    certain = look.certain(_scene(fits, windows, detection.sky.shape))
    trusted = certain if fits.trusted is None else certain & np.asarray(fits.trusted)
    return replace(fits, trusted=trusted)


def _scene(fits: Fits, windows: Cutouts, shape: tuple[int, int]) -> Scene:
    ground = ground_of(windows, shape)
    return Scene(
        position=np.asarray(fits.targets.position),
        intensity=np.asarray(fits.targets.intensity, np.float64),
        blob=fits.blob,
        centre=windows.pixel,
        signal_to_noise=windows.signal_to_noise,
        ground=ground,
        level=np.zeros(len(ground.pixel)),
    )


def _only(scene: Scene, chosen: Bool[np.ndarray, " B"], windows: Cutouts, sensor: Sensor) -> Scene:
    """Returns the scene of some blobs, without the light of the others."""
    ground = ground_of(_some(windows, chosen), scene.ground.shape)
    own = chosen[scene.blob]
    others = light_of(scene.position[~own], scene.intensity[~own], ground, sensor).total(ground)
    return Scene(
        position=scene.position[own],
        intensity=scene.intensity[own],
        blob=(np.cumsum(chosen) - 1)[scene.blob[own]],
        centre=scene.centre[chosen],
        signal_to_noise=scene.signal_to_noise[chosen],
        ground=replace(ground, counts=ground.counts - others),
        level=np.zeros(len(ground.pixel)),
    )


def _answers(scene: Scene, look: Look, flags: Int[np.ndarray, " B"]) -> Looked:
    """Returns the fits of a scene's blobs.

    Args:
      scene: the scene, with further blobs after those that were known.
      look: the way it was looked at.
      flags: flags of the known blobs.
    """
    windows = look.windows(scene)
    cut = scene.ground.cut(scene.centre, scene.signal_to_noise, look.side)
    core = cut.middle(look.width)
    new = flags_of_windows(core, np.zeros(core.counts.shape, bool), None)[len(flags) :]
    misfit, number = windows.misfit(look.width), len(scene.centre)
    probability = count_probability(scene.joint.significance, look.least, scene.blob, number)
    level = scene.level[scene.ground.windows(scene.centre, 1)[:, 0, 0]]
    fits = Fits(
        targets=targets_of(scene.joint, misfit[scene.blob]),
        blob=scene.blob,
        flags=np.concatenate([flags, new]) | int(Flag.CROWDED),
        trusted=look.certain(scene) & (misfit < TRUSTED_MISFIT) & (probability > TRUSTED_COUNT),
        misfit=misfit,
        count_probability=probability,
    )
    return Looked(fits, replace(cut, counts=cut.counts - windows.others), level)


def _merged(first: Looked, found: Looked, crowded: Int[np.ndarray, " C"]) -> Looked:
    """Puts the answers of crowded blobs in place of the first ones, and adds further blobs.

    Args:
      first: the first answers of all blobs.
      found: answers of the crowded blobs, and of further ones after them.
      crowded: indices of the crowded blobs among all.
    """
    number, known = len(first.level), len(crowded)
    of_new = np.arange(len(found.level)) >= known
    # Further blobs whose targets were dropped are none.
    seen = ~of_new | np.isin(np.arange(len(found.level)), found.fits.blob)
    place = np.concatenate([crowded, number + np.cumsum((of_new & seen)[known:]) - 1])

    def both(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        whole = np.concatenate([old, new[of_new & seen]])
        whole[crowded] = new[:known]
        return whole

    around = jax.tree.map(both, first.around, found.around)
    order = np.lexsort((*around.pixel.T[::-1], -around.signal_to_noise))
    rank = np.argsort(order)
    own = ~np.isin(first.fits.blob, crowded)
    blob = rank[np.concatenate([first.fits.blob[own], place[found.fits.blob]])]
    targets = _joined(first.fits.targets, own, found.fits.targets)
    by_blob = np.lexsort((-np.asarray(targets.score), blob))
    old, new = first.fits, found.fits
    trusted = np.ones(number, bool) if old.trusted is None else np.asarray(old.trusted)
    fits = Fits(
        targets=_some(targets, by_blob),
        blob=blob[by_blob],
        flags=both(old.flags, new.flags)[order],
        trusted=both(trusted, np.asarray(new.trusted))[order],
        misfit=both(old.misfit, new.misfit)[order],
        count_probability=both(old.count_probability, new.count_probability)[order],
    )
    return Looked(fits, _some(around, order), both(first.level, found.level)[order])


def _joined(first: Targets, kept: Bool[np.ndarray, " K"], further: Targets) -> Targets:
    """Joins some targets and further ones, in the fields that the first ones have."""
    unknown: dict[str, Any] = {name: None for name in OF_TARGETS if getattr(first, name) is None}
    some, others = _some(first, kept), replace(further, **unknown)
    joined: Targets = jax.tree.map(lambda *leaves: np.concatenate(leaves), some, others)
    return joined


def _some(tree: Tree, chosen: Shaped[np.ndarray, " N"]) -> Tree:
    """Returns the chosen rows of a tree of arrays."""
    rows: Tree = jax.tree.map(lambda leaf: leaf[chosen], tree)
    return rows
