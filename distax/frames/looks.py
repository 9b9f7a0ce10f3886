"""Looks at the residual of blobs: joint fits, a new background, and targets that were hidden."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from distax.frames.cutouts import middle, shrunk
from distax.frames.joint import NO_TARGETS, Joint, fit_jointly, variance_under, with_errors
from distax.frames.light import Ground, Light, light_of
from distax.frames.residual_peaks import residual_peaks
from distax.imaging.sensor import Sensor

_FELT = 0.1
"""Squared signal-to-noise ratio of other blobs' light in a window from which the window is fitted
jointly with theirs. Less changes an answer by less than its error."""
_PSF_ERROR, _CLIPPED_ERROR = 0.1, 0.5
"""Share of the targets' light in a pixel that counts as noise of the residual, as no PSF is exact,
and in windows with saturated pixels, which hide the intensity. More misses faint targets near
bright ones, less takes errors of the PSF for targets."""
_ANY_ERROR = 0.05
"""Share of the targets' light in a pixel that counts as noise where a blob is trusted. It is the
relative error of the PSF's width up to which a given width is not contradicted. A larger share
trusts fewer close pairs."""
_LOOKS = 4
"""Largest number of looks at the residual. Each finds what the light of others had hidden."""
_STEPS, _FITS = 3, 4
"""Steps of a joint fit, and largest number of fits until no more targets are dropped."""
_KEPT = 0.93
"""Least significance of a target in a joint fit relative to the threshold of detection, because
noise moves that of a target which was just detected. A smaller one keeps false targets."""
_CELL = 2
"""Side of the squares in which the level is measured anew, in windows. Larger ones follow the
background less, smaller ones are full of targets."""


@dataclass(frozen=True)
class Scene:
    """Targets of blobs, and the pixels around them.

    Attributes:
      position, intensity, blob: `[K]`, targets in frame coordinates and counts, and their blobs.
      centre, signal_to_noise: `[B]`, central pixel of each blob, and its signal-to-noise ratio.
      ground: the pixels, above the new level.
      level: `[M]`, counts that have been subtracted from the pixels for the new level.
      joint: the joint fit of the targets.
    """

    position: Float[np.ndarray, "K 2"]
    intensity: Float[np.ndarray, " K"]
    blob: Int[np.ndarray, " K"]
    centre: Int[np.ndarray, "B 2"]
    signal_to_noise: Float[np.ndarray, " B"]
    ground: Ground
    level: Float[np.ndarray, " M"]
    joint: Joint = NO_TARGETS

    def light(self, sensor: Sensor) -> Light:
        """Returns the images of the targets."""
        return light_of(self.position, self.intensity, self.ground, sensor)


@dataclass(frozen=True)
class Windows:
    """Windows around the blobs of a scene.

    Attributes:
      own: `[B, S, S]`, light of each blob's own targets.
      others: `[B, S, S]`, light of all other targets.
      residual: `[B, S, S]`, counts without the light of any target; NaN where they are not known.
      noise: `[B, S, S]`, standard deviation in counts with the light's shot noise.
      clipped: `[B, S, S]`, True for saturated pixels.
    """

    own: Float[np.ndarray, "B S S"]
    others: Float[np.ndarray, "B S S"]
    residual: Float[np.ndarray, "B S S"]
    noise: Float[np.ndarray, "B S S"]
    clipped: Bool[np.ndarray, "B S S"]

    def misfit(self, width: int) -> Float[np.ndarray, " B"]:
        """Returns the root-mean-square residual of the windows' middles relative to the noise."""
        known = np.isfinite(self.residual) & ~self.clipped
        squares = middle(np.where(known, self.residual / self.noise, 0.0) ** 2, width)
        number = np.sum(middle(known, width), axis=(1, 2))
        misfit: np.ndarray = np.sqrt(np.sum(squares, axis=(1, 2)) / np.maximum(number, 1))
        return misfit


@dataclass(frozen=True)
class Look:
    """A way to look at residuals.

    Attributes:
      threshold: signal-to-noise ratio above which a peak is a blob.
      sensor: the sensor.
      width: width in pixels of the middle of a window that holds a blob's light.
      side: height and width in pixels of a window.
    """

    threshold: float
    sensor: Sensor
    width: int
    side: int

    @property
    def least(self) -> float:
        """Least significance of a target in a joint fit."""
        return _KEPT * self.threshold

    def windows(self, scene: Scene) -> Windows:
        """Cuts the windows around a scene's blobs."""
        ground, light = scene.ground, scene.light(self.sensor)
        index, total = ground.windows(scene.centre, self.side), light.total(ground)
        own = light.own(scene.blob, scene.centre, self.side)
        own = np.where(index < len(ground.pixel), own, 0.0)
        noise = np.sqrt(variance_under(total, ground, self.sensor))
        return Windows(
            own=own,
            others=np.append(total, 0.0)[index] - own,
            residual=np.append(ground.counts - total, np.nan)[index],
            noise=np.append(noise, np.median(noise))[index],
            clipped=np.append(ground.clipped, False)[index],
        )

    def crowded(self, scene: Scene, level: Float[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
        """Finds blobs in whose windows other light is felt, or a significant peak is left.

        Args:
          scene: the scene.
          level: counts above the background around each blob.
        """
        windows = self.windows(scene)
        felt = np.sum(middle(windows.others / windows.noise, self.width) ** 2, axis=(1, 2))
        above = replace(windows, residual=windows.residual - level[:, None, None])
        peak, _, _ = self._peaks(scene, above)
        away = np.abs(scene.centre[:, None] - peak).max(axis=-1)
        return (felt > _FELT) | (away <= self.side // 2).any(axis=1)

    def certain(self, scene: Scene) -> Bool[np.ndarray, " B"]:
        """Finds the blobs all of whose targets would be found under an inexact PSF as well.

        Others have targets that may be pieces of a bright one.
        """
        certain = np.ones(len(scene.centre), bool)
        if len(scene.blob):
            light = scene.position, scene.intensity, scene.ground, self.sensor
            exact, inexact = with_errors(*light), with_errors(*light, _ANY_ERROR)
            lost = (exact.significance >= self.least) & (inexact.significance < self.least)
            certain[scene.blob[lost]] = False
        return certain

    def settled(self, scene: Scene) -> Scene:
        """Fits the targets jointly and adds those of the residual, until there are no more."""
        blobs = len(scene.centre)
        for _ in range(_LOOKS):
            scene = self._levelled(self._fitted(scene))
            peak, signal, intensity = self._peaks(scene, self.windows(scene))
            # A peak whose target was dropped would come back.
            again = (np.abs(scene.centre[blobs:, None] - peak).max(axis=-1) <= 1).any(axis=0)
            if again.all():
                return scene
            new = ~again
            number = len(scene.centre) + np.arange(np.sum(new))
            scene = replace(
                scene,
                position=np.concatenate([scene.position, peak[new]]),
                intensity=np.concatenate([scene.intensity, intensity[new]]),
                blob=np.concatenate([scene.blob, number]),
                centre=np.concatenate([scene.centre, peak[new]]),
                signal_to_noise=np.concatenate([scene.signal_to_noise, signal[new]]),
            )
        return self._fitted(scene)

    def _fitted(self, scene: Scene) -> Scene:
        """Fits the targets jointly, and drops those that the fit can do without."""
        for _ in range(_FITS):
            if not len(scene.blob):
                return replace(scene, joint=NO_TARGETS)
            joint = fit_jointly(scene.position, scene.intensity, scene.ground, self.sensor, _STEPS)
            kept = joint.significance >= self.least
            joint = joint.among(kept)
            scene = replace(
                scene,
                position=joint.position,
                intensity=joint.intensity,
                blob=scene.blob[kept],
                joint=joint,
            )
            if kept.all():
                return scene
        return scene

    def _levelled(self, scene: Scene) -> Scene:
        """Measures the level of the residual in squares, and subtracts it."""
        ground = scene.ground
        left = ground.counts - scene.light(self.sensor).total(ground)
        known = np.flatnonzero(np.isfinite(left) & ~ground.clipped)
        if not len(known):
            return scene
        row, column = np.divmod(ground.pixel, ground.shape[1])
        cell = (row // (_CELL * self.side)) * ground.shape[1] + column // (_CELL * self.side)
        _, cell = np.unique(cell, return_inverse=True)
        order = known[np.argsort(cell[known], kind="stable")]
        parts = np.split(order, np.flatnonzero(np.diff(cell[order])) + 1)
        median = np.array([np.median(left[part]) for part in parts])
        variance = [np.pi / 2 * np.mean(ground.noise[part] ** 2) / len(part) for part in parts]
        level = np.zeros(cell.max() + 1)
        level[[cell[part[0]] for part in parts]] = shrunk(median, np.array(variance))
        new = level[cell]
        return replace(
            scene,
            level=scene.level + new,
            ground=replace(ground, counts=ground.counts - new),
        )

    def _peaks(
        self, scene: Scene, windows: Windows
    ) -> tuple[Int[np.ndarray, "N 2"], Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
        """Finds peaks of the residual that no misfit of the subtracted light explains."""
        clipped = windows.clipped.any(axis=(1, 2), keepdims=True)
        share = np.where(clipped, _CLIPPED_ERROR, _PSF_ERROR)
        noise = np.hypot(windows.noise, share * (windows.own + windows.others))
        noise *= np.maximum(windows.misfit(self.width), 1.0)[:, None, None]
        residual = np.where(windows.clipped, np.nan, windows.residual)
        return residual_peaks(residual, noise, scene.centre, self.threshold, self.sensor)
