"""Models that find targets in images, registered by name."""

from distax.models.base import GridModel, Model
from distax.models.density import Density
from distax.models.registry import create, names, register
from distax.models.unfolding.dista import Dista, DistaThreshold, DistaTransform

__all__ = [
    "Density",
    "Dista",
    "DistaThreshold",
    "DistaTransform",
    "GridModel",
    "Model",
    "create",
    "names",
    "register",
]
