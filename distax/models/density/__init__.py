"""One pass from an image to a posterior density of target positions, and the best answer to it."""

from distax.models.density.network import Density

__all__ = ["Density"]
