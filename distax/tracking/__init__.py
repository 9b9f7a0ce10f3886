"""Tracking: simulated sequences, unmixing frame by frame, tracks and their scores."""

from distax.imaging.motion import MotionPrior, sample, simulate
from distax.tracking.association import Tracker
from distax.tracking.scoring import FrameScore, TrackEvaluation, assess_tracks
from distax.tracking.tracks import Tracks, track, unmix_sequences

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
