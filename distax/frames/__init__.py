"""Whole frames: images of any size, in which blobs are found, cut out and unmixed."""

from distax.frames.law import FrameLaw
from distax.frames.targets import Flag, FrameTargets
from distax.frames.unmixing import FrameUnmixer

__all__ = ["Flag", "FrameLaw", "FrameTargets", "FrameUnmixer"]
