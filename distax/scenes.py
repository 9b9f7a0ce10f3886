"""Random scenes: how many targets, where and how bright. Public name of `imaging.scenes`."""

from distax.imaging.scenes import ScenePrior, sample, simulate

__all__ = ["ScenePrior", "sample", "simulate"]
