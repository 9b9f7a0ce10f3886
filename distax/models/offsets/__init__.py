"""Grid models with a head that answers off the grid: the number of targets, then their offsets."""

from distax.models.offsets.model import GuidedOffsets

__all__ = ["GuidedOffsets"]
