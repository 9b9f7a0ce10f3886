"""Tracking: simulated sequences, unmixing frame by frame, tracks and their scores."""

from distax.imaging.motion import MotionPrior, sample, simulate
from distax.tracking.association import Tracker
from distax.tracking.camera import Shifts
from distax.tracking.frame_tracker import FrameTracker
from distax.tracking.frame_tracks import FrameTracks, track_frames
from distax.tracking.joint import fit_paths
from distax.tracking.linked import unmix_linked
from distax.tracking.scene import Scene, make_scene, register_scenes
from distax.tracking.scoring import FrameScore, TrackEvaluation, assess_tracks
from distax.tracking.sequence_unmixer import SequenceUnmixer
from distax.tracking.simulation import FrameSequence, SequenceTruth, simulate_frames
from distax.tracking.tracks import Tracks, track, unmix_sequences

__all__ = [
    "FrameScore",
    "FrameSequence",
    "FrameTracker",
    "FrameTracks",
    "MotionPrior",
    "Scene",
    "SequenceTruth",
    "SequenceUnmixer",
    "Shifts",
    "TrackEvaluation",
    "Tracker",
    "Tracks",
    "assess_tracks",
    "fit_paths",
    "make_scene",
    "register_scenes",
    "sample",
    "simulate",
    "simulate_frames",
    "track",
    "track_frames",
    "unmix_linked",
    "unmix_sequences",
]
