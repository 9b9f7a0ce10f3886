"""Whole frames: images of any size, in which blobs are found, cut out and unmixed."""

from distax.frames.prior import FramePrior
from distax.frames.targets import Flag, FrameTargets
from distax.frames.unmixing import FrameUnmixer

__all__ = ["Flag", "FramePrior", "FrameTargets", "FrameUnmixer"]
