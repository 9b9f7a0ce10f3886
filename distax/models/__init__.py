"""Models that map images to intensity on the sub-pixel grid, registered by name."""

from distax.models.base import GridModel
from distax.models.dista import Dista
from distax.models.registry import create, names, register

__all__ = ["Dista", "GridModel", "create", "names", "register"]
