"""Models that find targets in images, registered by name."""

from distax.models.base import GridModel, Model
from distax.models.density import Density
from distax.models.dista import Dista
from distax.models.registry import create, names, register

__all__ = ["Density", "Dista", "GridModel", "Model", "create", "names", "register"]
