"""Export of a method to a file: traced for any number of images, lowered for several platforms."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from os import PathLike
from typing import Any, Protocol, runtime_checkable

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx

from distax.export import archive
from distax.export.cameras import cut_for, prior_of
from distax.export.numbers import Numbers, numbers_of
from distax.fitting.candidates import sample_pools
from distax.fitting.estimators import Estimator, Fast, FastFit, Grid, Refine
from distax.fitting.fast import fast_patch
from distax.fitting.patch import window_width
from distax.fitting.refine import refine, refine_patch
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError, DistaxWarning, first_line, unknown
from distax.runtime.optional import require
from distax.runtime.pytree import fingerprint, named_leaves
from distax.runtime.version import __version__


@runtime_checkable
class Method(Protocol):
    """An estimator with its sensor and prior: an `Unmixer`."""

    estimator: Estimator
    sensor: Sensor
    prior: ScenePrior


_Function = Callable[..., dict[str, jax.Array]]
"""A method: images, and for one that serves every camera its numbers, to outputs by name."""


def export(
    unmixer: Method,
    path: str | PathLike[str],
    *,
    platforms: Sequence[str] | None = None,
    grid: bool = False,
) -> dict[str, Any]:
    """Writes a method, from images to targets, to a file that runs without distax.

    Args:
      unmixer: an unmixer with the method "grid", "refine" or "fast". The network of "fast" for
        sensors other than CSIST-100K's takes the numbers of sensor and prior as inputs. The
        unmixer's own give the images' size, the widest windows, and the numbers of targets.
      path: the file.
      platforms: names from `PLATFORMS`. Default: all platforms that can compute the method.
      grid: True to write a grid model's output, False to write the targets read off it.

    Returns:
      The file's description; see `ExportedMethod.description`.

    Raises:
      DistaxError: the method or the model cannot be exported; a platform is unknown or cannot
        compute it; the file cannot be written.
    """
    require("flatbuffers", "exported methods")
    function = _grid(unmixer) if grid else _targets(unmixer)
    program = _lowered(function, _inputs(unmixer), platforms)
    about = _about(unmixer, program, grid)
    archive.write(as_path(path), about, _serialised(program))
    return about


def _targets(unmixer: Method) -> _Function:
    """Returns a function that maps images to a method's outputs by name."""
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
    if isinstance(estimator, FastFit):
        return _for_every_camera(unmixer, estimator)
    raise DistaxError(
        f"the method {estimator.name} cannot be exported: it computes images of one number of "
        "targets together; export refine or fast"
    )


def _for_every_camera(unmixer: Method, estimator: FastFit) -> _Function:
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

    return _image_by_image(find)


def _inputs(unmixer: Method) -> tuple[Any, ...]:
    """Returns the shapes of a method's inputs: the images, and the numbers of a camera."""
    shape = (*jax.export.symbolic_shape("batch"), *unmixer.sensor.shape)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    if not isinstance(unmixer.estimator, FastFit):
        return (images,)
    numbers = numbers_of(unmixer.sensor, unmixer.prior)
    return images, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), numbers)


def _grid(unmixer: Method) -> _Function:
    if not isinstance(unmixer.estimator, Grid):
        raise DistaxError(f"the method {unmixer.estimator.name} has no grid; export its targets")
    model = unmixer.estimator.model
    return _image_by_image(lambda images: {"grid": model(images)})


def _image_by_image(function: _Function) -> _Function:
    """Maps a function over images one by one, so that it can be traced for any number of them.

    Methods treat each image on its own, but their code often uses the length of the batch, which
    must then be a number. Here it is 1, and only `vmap` sees the symbolic number of images.
    """

    def of_all(images: jax.Array, *camera: Numbers) -> dict[str, jax.Array]:
        def of_one(image: jax.Array) -> dict[str, jax.Array]:
            return jax.tree.map(itemgetter(0), function(image[None], *camera))

        return jax.vmap(of_one)(images)

    return of_all


def _lowered(
    function: _Function, inputs: tuple[Any, ...], platforms: Sequence[str] | None
) -> jax.export.Exported:
    """Lowers a function for the given platforms. Default: all platforms that can compute it.

    Raises:
      DistaxError: a platform is unknown; a given platform, or every platform, cannot compute it.
    """
    for platform in platforms or ():
        if platform not in archive.PLATFORMS:
            raise unknown("platform", platform, archive.PLATFORMS)
    wanted = platforms or archive.PLATFORMS

    def lower(platforms: Sequence[str]) -> jax.export.Exported:
        return jax.export.export(jax.jit(function), platforms=platforms)(*inputs)

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
    """Returns the reasons of the platforms that cannot compute a function, by platform."""
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
    # JAX refuses callbacks to Python, for example, and library functions that may change.
    except (NotImplementedError, ValueError) as error:
        raise DistaxError(f"the model cannot be exported: {first_line(error)}") from error


def _about(unmixer: Method, program: jax.export.Exported, grid: bool) -> dict[str, Any]:
    """Describes a program: versions, method, model, sensor, inputs and outputs."""
    from distax.export.outputs import described

    estimator = unmixer.estimator
    model = getattr(estimator, "model", getattr(estimator, "network", None))
    (images, *numbers), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
    return {
        "distax": __version__,
        "jax": jax.__version__,
        "method": estimator.name,
        "model": None if model is None else type(model).__name__,
        "weights_sha256": None if model is None else fingerprint(nnx.state(model)),
        "threshold": estimator.threshold if isinstance(estimator, Grid) and not grid else None,
        "sensor": asdict(unmixer.sensor),
        "prior": asdict(unmixer.prior) if estimator.fits else None,
        "platforms": list(program.platforms),
        "inputs": described({"images": images}),
        "camera": described(numbers[0]) if numbers else None,
        "outputs": described(outputs),
    }
