"""Sequences of frames: simulated, unmixed frame by frame, and tracked through all of them."""

from distax.imaging.motion import MotionPrior, sample, simulate
from distax.tracking.linking import Tracker
from distax.tracking.scoring import FrameScore, TrackEvaluation, assess_tracks
from distax.tracking.tracking import Tracks, track, unmix_sequences

__all__ = [
    "FrameScore",
    "MotionPrior",
    "TrackEvaluation",
    "Tracker",
    "Tracks",
    "assess_tracks",
    "sample",
    "simulate",
    "track",
    "unmix_sequences",
]
