"""Export of a method to a file."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from os import PathLike
from typing import Any, Protocol, runtime_checkable

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx

from distax.export import archive
from distax.export.cameras import cut_for, prior_of
from distax.export.lowering import Function, lowered, row_by_row, serialised
from distax.export.numbers import Numbers, numbers_of
from distax.export.sequences import (
    SequenceMethod,
    describe_sequences,
    sequence_function,
    sequence_inputs,
)
from distax.fitting.candidates import sample_pools
from distax.fitting.estimators import Estimator, Fast, FastFit, Grid, Refine
from distax.fitting.fast import fast_patch
from distax.fitting.patch import window_width
from distax.fitting.refine import refine, refine_patch
from distax.imaging.motion import SEQCSIST
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError
from distax.runtime.optional import require
from distax.runtime.pytree import fingerprint, named_leaves
from distax.runtime.version import __version__


@runtime_checkable
class Method(Protocol):
    """An estimator with its sensor and prior: an `Unmixer`."""

    estimator: Estimator
    sensor: Sensor
    prior: ScenePrior


def export(
    unmixer: Method | SequenceMethod,
    path: str | PathLike[str],
    *,
    platforms: Sequence[str] | None = None,
    grid: bool = False,
    frames: int | None = None,
) -> dict[str, Any]:
    """Writes a method, from images or sequences to targets, to a file that runs without distax.

    Args:
      unmixer: an unmixer with the method "grid", "refine" or "fast", or one of sequences. The
        network of "fast" for sensors other than CSIST-100K's takes the numbers of sensor and prior
        as inputs. The unmixer's own give the images' size, the widest windows, and the numbers of
        targets.
      path: the file.
      platforms: names from `PLATFORMS`. Default: all platforms that can compute the method.
      grid: True to write a grid model's output, False to write the targets read off it.
      frames: number of frames of every sequence, for a model of sequences. Default: 20, as in
        SeqCSIST.

    Returns:
      The file's description; see `ExportedMethod.description`.

    Raises:
      DistaxError: the method or the model cannot be exported; a platform is unknown or cannot
        compute it; the sequences are too short for the model; the file cannot be written.
    """
    require("flatbuffers", "exported methods")
    if isinstance(unmixer, Method):
        if frames is not None:
            raise DistaxError("frames has an effect on models of sequences only; leave it out")
        function = _grid(unmixer) if grid else _targets(unmixer)
        program = lowered(function, _inputs(unmixer), platforms)
        own = _describe_method(unmixer, grid)
    else:
        length = SEQCSIST.frames if frames is None else frames
        function = sequence_function(unmixer, grid)
        program = lowered(function, sequence_inputs(unmixer, length), platforms)
        own = describe_sequences(unmixer, grid, length, program.out_avals)
    about = _description(own, program)
    archive.write(as_path(path), about, serialised(program))
    return about


def _targets(unmixer: Method) -> Function:
    """Returns a function that maps images to a method's outputs by name."""
    estimator = unmixer.estimator
    if isinstance(estimator, Refine):
        fit = partial(refine, sensor=unmixer.sensor, prior=unmixer.prior, search=estimator.search)
        return row_by_row(lambda images: named_leaves(fit(images)))
    if isinstance(estimator, Grid):
        model, threshold = estimator.model, estimator.threshold
        return row_by_row(lambda images: named_leaves(model.detect(images, threshold)))
    if isinstance(estimator, Fast):
        network = estimator.model
        return row_by_row(lambda images: named_leaves(network.detect(images)))
    if isinstance(estimator, FastFit):
        return _for_every_camera(unmixer, estimator)
    raise DistaxError(
        f"the method {estimator.name} cannot be exported: it computes images of one number of "
        "targets together; export refine or fast"
    )


def _for_every_camera(unmixer: Method, estimator: FastFit) -> Function:
    """Returns a function of images and the numbers of sensor and prior; see `export.cameras`."""
    if unmixer.sensor.measured_psf is not None:
        raise DistaxError(
            "a measured PSF cannot be an input of an exported method: export refine, or fast for a "
            "Gaussian PSF"
        )
    like, network = unmixer.prior, estimator.network
    width = window_width(unmixer.sensor, like.cluster)
    of_refine, of_fast = (
        search.over(like.cluster) for search in (estimator.refine.search, estimator.search)
    )

    def find(images: jax.Array, camera: Numbers) -> dict[str, jax.Array]:
        prior = prior_of(camera, like)
        patch, sensor = cut_for(images, camera, width)
        pools = sample_pools(prior, of_refine)
        fitted = refine_patch(patch, pools, sensor.psf, prior, of_refine)
        return named_leaves(fast_patch(patch, fitted, network, sensor, prior, of_fast))

    return row_by_row(find)


def _inputs(unmixer: Method) -> tuple[Any, ...]:
    """Returns the shapes of a method's inputs: the images, and the numbers of a camera."""
    shape = (*jax.export.symbolic_shape("batch"), *unmixer.sensor.shape)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    if not isinstance(unmixer.estimator, FastFit):
        return (images,)
    numbers = numbers_of(unmixer.sensor, unmixer.prior)
    return images, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), numbers)


def _grid(unmixer: Method) -> Function:
    if not isinstance(unmixer.estimator, Grid):
        raise DistaxError(f"the method {unmixer.estimator.name} has no grid; export its targets")
    model = unmixer.estimator.model
    return row_by_row(lambda images: {"grid": model(images)})


def _describe_method(unmixer: Method, grid: bool) -> dict[str, Any]:
    """Describes a method of images: its model, settings, sensor and prior."""
    estimator = unmixer.estimator
    model = getattr(estimator, "model", getattr(estimator, "network", None))
    return {
        "method": estimator.name,
        "model": None if model is None else type(model).__name__,
        "weights_sha256": None if model is None else fingerprint(nnx.state(model)),
        "threshold": estimator.threshold if isinstance(estimator, Grid) and not grid else None,
        "sensor": asdict(unmixer.sensor),
        "prior": asdict(unmixer.prior) if estimator.fits else None,
        "sequence": None,
    }


def _description(method: dict[str, Any], program: jax.export.Exported) -> dict[str, Any]:
    """Describes a program: versions, method, platforms, inputs and outputs."""
    from distax.export.outputs import described

    (images, *numbers), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
    return {
        "distax": __version__,
        "jax": jax.__version__,
        **method,
        "platforms": list(program.platforms),
        "inputs": described({"images": images}),
        "camera": described(numbers[0]) if numbers else None,
        "outputs": described(outputs),
    }
