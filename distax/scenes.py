"""Random scenes: how many targets, where and how bright; see `distax.imaging.scenes`."""

from distax.imaging.scenes import PlacementLaw, sample, simulate

__all__ = ["PlacementLaw", "sample", "simulate"]
