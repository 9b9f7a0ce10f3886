"""Loading of the original toolkit's models from their arrays."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from distax.imaging.sensor import Sensor
from distax.interop.grokcso.adversarial import BSRGAN, ESRGAN, SRGAN
from distax.interop.grokcso.attention import CTNET, EGASR, FENET, HAN, RCAN, SAN
from distax.interop.grokcso.backprojection import DBPN, GMFN, SRFBN
from distax.interop.grokcso.checkpoint import candidate_prefixes
from distax.interop.grokcso.convolutional import (
    CFGN,
    EDSR,
    EDSR_SEQUENCE,
    ESPCN,
    FOCUS,
    RDN,
    SRCNN,
)
from distax.interop.grokcso.dynamic import DISTA, STSA
from distax.interop.grokcso.original import Original
from distax.interop.grokcso.sequences import DEREFNET, TDAN
from distax.interop.grokcso.transformers import ACTNET, DCTLSA, HIT_SNG
from distax.interop.grokcso.unfolding import (
    FISTA_NET,
    ISTA_NET,
    ISTA_NET_PP,
    LAMP,
    LIHT,
    LISTA,
    RPCANET,
    TILISTA,
    USRNET,
)
from distax.models import GridModel, SequenceModel, create
from distax.models.keys import parameter_rngs
from distax.models.registry import constructor_parameters
from distax.runtime.errors import DistaxError, unknown

_ORIGINALS: dict[str, Original] = {
    "actnet": ACTNET,
    "bsrgan": BSRGAN,
    "cfgn": CFGN,
    "ctnet": CTNET,
    "dbpn": DBPN,
    "dctlsa": DCTLSA,
    "derefnet": DEREFNET,
    "dista": DISTA,
    "edsr": EDSR,
    "edsr_sequence": EDSR_SEQUENCE,
    "egasr": EGASR,
    "espcn": ESPCN,
    "esrgan": ESRGAN,
    "fenet": FENET,
    "fista_net": FISTA_NET,
    "focus": FOCUS,
    "gmfn": GMFN,
    "han": HAN,
    "hit_sng": HIT_SNG,
    "ista_net": ISTA_NET,
    "ista_net_plus": ISTA_NET,
    "ista_net_pp": ISTA_NET_PP,
    "lamp": LAMP,
    "liht": LIHT,
    "lista": LISTA,
    "rcan": RCAN,
    "rdn": RDN,
    "rpcanet": RPCANET,
    "san": SAN,
    "srcnn": SRCNN,
    "srcnn_sequence": SRCNN,
    "srfbn": SRFBN,
    "srgan": SRGAN,
    "stsa": STSA,
    "tdan": TDAN,
    "tilista": TILISTA,
    "usrnet": USRNET,
}


def names() -> list[str]:
    """Returns the names of the models whose original weights can be loaded."""
    return sorted(_ORIGINALS)


def load(
    name: str,
    weights: Mapping[str, ArrayLike],
    *,
    factor: int = 3,
    phi: Float[Array, "pixels nodes"] | Float[np.ndarray, "pixels nodes"] | None = None,
    q_init: Float[Array, "nodes pixels"] | Float[np.ndarray, "nodes pixels"] | None = None,
    sensor: Sensor = Sensor(),
    **options: Any,
) -> GridModel | SequenceModel:
    """Loads a model with the original's weights. Its sizes are read from the arrays.

    Args:
      name: the model, as registered in distax.
      weights: arrays by original name; convolutions are (out, in, row, column).
      factor: grid nodes per pixel along each axis, odd.
      phi: sampling matrix `[pixels, nodes]`, for models that use one. Default: the sensor's.
      q_init: initial estimator `[nodes, pixels]`, for models that use one. Default: fitted to
        simulated scenes.
      sensor: the sensor whose images the model takes.
      **options: arguments of the model's constructor that the arrays do not determine, such as
        alpha of DISTA-Net and stages of FISTA-Net.

    Raises:
      DistaxError: the model or an option is unknown, or an array is missing, left over or has the
        wrong shape.
    """
    arrays = {key: np.asarray(value) for key, value in weights.items()}
    given = sizes(name, arrays) | options
    for key, matrix in {"phi": phi, "q_init": q_init}.items():
        if matrix is not None and key in constructor_parameters(name):
            given[key] = jnp.asarray(matrix, float)
    model = create(name, factor=factor, sensor=sensor, rngs=parameter_rngs(0), **given)
    assert isinstance(model, GridModel | SequenceModel)
    _original(name).fill(model, arrays)
    return model


def sizes(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Reads the constructor's options that the original's arrays determine.

    Raises:
      DistaxError: the model is unknown, or an array with a size is missing.
    """
    return _original(name).options(arrays)


def strip_prefix(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Strips the prefix that wrappers around a model have put before the original names.

    The arrays are returned unchanged if no prefix gives the names of the model.

    Raises:
      DistaxError: the model is unknown.
    """
    original = _original(name)
    for prefix in candidate_prefixes(arrays):
        shorter = {key.removeprefix(prefix): array for key, array in arrays.items()}
        if _has_all_parameters(name, original, shorter):
            return shorter
    return dict(arrays)


def _original(name: str) -> Original:
    if name not in _ORIGINALS:
        raise unknown("GrokCSO model", name, _ORIGINALS)
    return _ORIGINALS[name]


def _has_all_parameters(name: str, original: Original, arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns True if every parameter of the model has an array."""
    try:
        options: dict[str, Any] = original.options(arrays)
        model = nnx.eval_shape(lambda: create(name, rngs=parameter_rngs(0), **options))
    except DistaxError:
        return False
    return not original.find_missing(model, arrays)
