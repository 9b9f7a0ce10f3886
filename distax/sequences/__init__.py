"""Sequences of frames: simulated, unmixed frame by frame, and tracked through all of them."""

from distax.sequences.linking import Tracker
from distax.sequences.motion import MotionLaw, sample, simulate
from distax.sequences.scoring import FrameScore, TrackEvaluation, assess_tracks
from distax.sequences.tracking import Tracks, track, unmix_sequences

__all__ = [
    "FrameScore",
    "MotionLaw",
    "TrackEvaluation",
    "Tracker",
    "Tracks",
    "assess_tracks",
    "sample",
    "simulate",
    "track",
    "unmix_sequences",
]
