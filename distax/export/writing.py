"""A method as a file: traced for a symbolic number of images, lowered for several platforms."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from distax.export import archive
from distax.fitting.estimators import Estimator, Fast, Grid, Refine
from distax.fitting.refine import refine
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.errors import DistaxError, DistaxWarning, first_line, unknown
from distax.runtime.optional import require
from distax.runtime.pytree import named_leaves
from distax.runtime.version import __version__

if TYPE_CHECKING:
    from distax.models import Model


@runtime_checkable
class Method(Protocol):
    """An estimator with its sensor and prior: an `Unmixer`."""

    estimator: Estimator
    sensor: Sensor
    prior: ScenePrior


_Function = Callable[[jax.Array], dict[str, jax.Array]]


def export(
    unmixer: Method,
    path: str | Path,
    *,
    platforms: Sequence[str] | None = None,
    grid: bool = False,
) -> dict[str, Any]:
    """Write a method, from images to targets, so that it computes without distax.

    Args:
      unmixer: the method "fast", "grid" or "refine", with its model.
      path: the file.
      platforms: of `PLATFORMS`; all that can compute the method without it.
      grid: write a grid model's output rather than the targets read off it.

    Returns:
      What the file says of itself; see `Loaded.about`.

    Raises:
      DistaxError: a method or a model that cannot be exported, a platform that is unknown or
        cannot compute it, or the file cannot be written.
    """
    require("flatbuffers", "exported methods")
    function = _grid(unmixer) if grid else _targets(unmixer)
    program = _lowered(function, unmixer.sensor.shape, platforms)
    about = _about(unmixer, program, grid)
    archive.write(Path(path), about, _serialised(program))
    return about


def _targets(unmixer: Method) -> _Function:
    """Returns a function of images that gives the outputs of a method, by name."""
    estimator = unmixer.estimator
    if isinstance(estimator, Refine):
        fit = partial(refine, sensor=unmixer.sensor, prior=unmixer.prior, search=estimator.search)
        return _image_by_image(lambda images: named_leaves(fit(images)))
    if isinstance(estimator, Grid):
        model, threshold = estimator.model, estimator.threshold
        return _image_by_image(lambda images: named_leaves(model.detect(images, threshold)))
    if isinstance(estimator, Fast):
        network = estimator.model
        return _image_by_image(lambda images: named_leaves(network.detect(images)))
    raise DistaxError(
        f"the method {estimator.name} cannot be exported: what it computes depends on how many "
        "images hold how many targets; export fast or refine"
    )


def _grid(unmixer: Method) -> _Function:
    if not isinstance(unmixer.estimator, Grid):
        raise DistaxError(f"the method {unmixer.estimator.name} has no grid; export its targets")
    model = unmixer.estimator.model
    return _image_by_image(lambda images: {"grid": model(images)})


def _image_by_image(function: _Function) -> _Function:
    """A function of any number of images from one that need not take a symbol for it.

    Methods treat every image on its own, and often ask for the length of a batch.
    """

    def of_one(image: jax.Array) -> dict[str, jax.Array]:
        return jax.tree.map(itemgetter(0), function(image[None]))

    return jax.vmap(of_one)


def _lowered(
    function: _Function, shape: tuple[int, int], platforms: Sequence[str] | None
) -> jax.export.Exported:
    """The program for the platforms, or without them for all that can compute it."""
    for platform in platforms or ():
        if platform not in archive.PLATFORMS:
            raise unknown("platform", platform, archive.PLATFORMS)
    wanted = platforms or archive.PLATFORMS
    images = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), *shape), jnp.float32)

    def lower(platforms: Sequence[str]) -> jax.export.Exported:
        return jax.export.export(jax.jit(function), platforms=platforms)(images)

    try:
        return lower(wanted)
    except NotImplementedError:
        refused = _refusals(lower, wanted)
    named = "; ".join(f"{platform} cannot compute it: {why}" for platform, why in refused.items())
    if platforms or len(refused) == len(wanted):
        raise DistaxError(f"the model cannot be exported: {named}")
    warnings.warn(f"not exported for all platforms: {named}", DistaxWarning, stacklevel=4)
    return lower([platform for platform in wanted if platform not in refused])


def _refusals(lower: Callable[[Sequence[str]], Any], platforms: Sequence[str]) -> dict[str, str]:
    """Why each of the platforms that cannot compute a function cannot."""
    refused = {}
    for platform in platforms:
        try:
            lower([platform])
        except NotImplementedError as error:
            refused[platform] = first_line(error)
    return refused


def _serialised(program: jax.export.Exported) -> bytes:
    try:
        return bytes(program.serialize())
    # Such as a call back to Python, or a library's function that may change.
    except (NotImplementedError, ValueError) as error:
        raise DistaxError(f"the model cannot be exported: {first_line(error)}") from error


def _about(unmixer: Method, program: jax.export.Exported, grid: bool) -> dict[str, Any]:
    """Describes a program: versions, method, model, sensor, inputs and outputs."""
    from distax.export.outputs import described

    estimator = unmixer.estimator
    model = getattr(estimator, "model", None)
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
    return {
        "distax": __version__,
        "jax": jax.__version__,
        "method": estimator.name,
        "model": None if model is None else type(model).__name__,
        "weights_sha256": None if model is None else _fingerprint(model),
        "threshold": estimator.threshold if isinstance(estimator, Grid) and not grid else None,
        "sensor": asdict(unmixer.sensor),
        "prior": asdict(unmixer.prior) if estimator.fits else None,
        "platforms": list(program.platforms),
        "inputs": described({"images": program.in_avals[0]}),
        "outputs": described(outputs),
    }


def _fingerprint(model: "Model") -> str:
    """A hash of all the model's arrays and their names."""
    from flax import nnx

    digest = hashlib.sha256()
    for name, leaf in named_leaves(nnx.state(model)).items():
        digest.update(name.encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
