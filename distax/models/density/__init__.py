"""Density network: from an image to the posterior density of target positions in one pass."""

from distax.models.density.network import Density

__all__ = ["Density"]
