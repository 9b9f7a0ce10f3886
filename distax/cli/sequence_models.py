"""Models of sequences among the checkpoints that commands take."""

from collections.abc import Mapping
from typing import Any

from distax import weights
from distax.models.registry import classical
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError
from distax.tracking import SequenceUnmixer
from distax.tracking.sequence_unmixer import find_sequence_unmixer


def load_sequence_unmixer(
    checkpoint: str | None, threshold: float | None, unsuitable: Mapping[str, Any]
) -> SequenceUnmixer | None:
    """Loads the model of a checkpoint if it takes sequences.

    Args:
      checkpoint: the option `--checkpoint`.
      threshold: the option `--threshold`; None for that of the model's training.
      unsuitable: the values of options that do not suit models of sequences, by their names.

    Returns:
      The unmixer of sequences. None if the model takes single images, or if there is no checkpoint
      of that name, which `make_unmixer` reports.

    Raises:
      DistaxError: the checkpoint cannot be read, or one of the unsuitable options is given.
    """
    shipped = {*classical(), *weights.names()}
    if not checkpoint or checkpoint in shipped or not as_path(checkpoint).exists():
        return None
    unmixer = find_sequence_unmixer(as_path(checkpoint), threshold)
    if unmixer is not None and any(unsuitable.values()):
        *others, last = unsuitable
        names = f"{', '.join(others)} and {last}" if others else last
        raise DistaxError(f"{checkpoint} is a model of sequences; leave {names} out")
    return unmixer
