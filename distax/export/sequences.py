"""Export of models that take sequences of frames."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx

from distax.export.lowering import Function, row_by_row
from distax.models import SequenceModel
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.pytree import fingerprint, named_leaves


@runtime_checkable
class SequenceMethod(Protocol):
    """A model of sequences with its threshold: a `tracking.SequenceUnmixer`."""

    @property
    def model(self) -> SequenceModel:
        """The model."""

    @property
    def threshold(self) -> float:
        """Counts that a grid node needs to be reported."""


def sequence_function(unmixer: SequenceMethod, grid: bool) -> Function:
    """Returns a function that maps sequences to the targets, or to the grids, by name."""
    model, threshold = unmixer.model, unmixer.threshold
    if grid:
        return row_by_row(lambda frames: {"grid": model(frames)})
    return row_by_row(lambda frames: named_leaves(model.detect(frames, threshold)))


def sequence_inputs(unmixer: SequenceMethod, frames: int) -> tuple[jax.ShapeDtypeStruct]:
    """Returns the shape of the input: any number of sequences of a number of frames.

    The number of frames is fixed, because models use it as a number: to select the answered frames,
    or to measure time.

    Raises:
      DistaxError: there are too few frames for the model.
    """
    check_positive(frames=frames)
    unmixer.model.answered(frames)
    shape = (*jax.export.symbolic_shape("batch"), frames, *unmixer.model.sensor.shape)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)


def describe_sequences(
    unmixer: SequenceMethod, grid: bool, frames: int, outputs: Sequence[Any]
) -> dict[str, Any]:
    """Describes a model of sequences: its settings and sensor, and the frames that it answers.

    Args:
      unmixer: the model and its threshold.
      grid: True if its grids are written, which no threshold applies to.
      frames: number of frames of a sequence.
      outputs: shapes of the outputs.

    Raises:
      DistaxError: the model answers another number of frames than it says.
    """
    model = unmixer.model
    name, answered = type(model).__name__, list(model.answered(frames))
    found = {shape[1] for shape in (output.shape for output in outputs)}
    if found != {len(answered)}:
        raise DistaxError(
            f"{name} says that it answers {len(answered)} of {frames} frames, but it answers "
            f"{found.pop()}; correct its method answered"
        )
    return {
        "method": "sequence",
        "model": name,
        "weights_sha256": fingerprint(nnx.state(model)),
        "threshold": None if grid else unmixer.threshold,
        "sensor": asdict(model.sensor),
        "prior": None,
        "sequence": {"frames": frames, "answered": answered},
    }
