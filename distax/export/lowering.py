"""Tracing of a method for any number of rows, and lowering of it for several platforms."""

import warnings
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import jax
import jax.export

from distax.export import archive
from distax.export.numbers import Numbers
from distax.runtime.errors import DistaxError, DistaxWarning, first_line, unknown

Function = Callable[..., dict[str, jax.Array]]
"""A method: images or sequences, and for one that serves every camera its numbers, to outputs by
name."""


def row_by_row(function: Function) -> Function:
    """Maps a function over rows one by one, so that it can be traced for any number of them.

    Methods treat each image or sequence on its own, but their code often uses the length of the
    batch, which must then be a number. Here it is 1, and only `vmap` sees the symbolic number.
    """

    def of_all(rows: jax.Array, *camera: Numbers) -> dict[str, jax.Array]:
        def of_one(row: jax.Array) -> dict[str, jax.Array]:
            return jax.tree.map(itemgetter(0), function(row[None], *camera))

        return jax.vmap(of_one)(rows)

    return of_all


def lowered(
    function: Function, inputs: tuple[Any, ...], platforms: Sequence[str] | None
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


def serialised(program: jax.export.Exported) -> bytes:
    """Serialises a program.

    Raises:
      DistaxError: the program cannot be serialised.
    """
    try:
        return bytes(program.serialize())
    # JAX refuses callbacks to Python, for example, and library functions that may change.
    except (NotImplementedError, ValueError) as error:
        raise DistaxError(f"the model cannot be exported: {first_line(error)}") from error
