"""Platforms: the default one, and functions that are computed in another form on some of them.

The form depends on the platform that a program is lowered for, not on the host that lowers it.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Float


def default_platform() -> str:
    """Names the platform of the device on which functions compute arrays of the host."""
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform


def quiet_tpu_compiler() -> None:
    """Keeps libtpu from looking for chips on a host without any, and lets processes share it.

    Otherwise every command prints libtpu's warnings. Call this before JAX starts its devices.
    """
    if any(Path("/dev").glob("accel*")) or any(Path("/dev/vfio").glob("[0-9]*")):
        return
    for name, value in _WITHOUT_CHIPS.items():
        os.environ.setdefault(name, value)


Form = Callable[..., Float[Array, ""]]
_WITHOUT_CHIPS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_STDERR_LOG_LEVEL": "3",
}
"""Environment of libtpu on a host without TPU."""


def evaluate_by_platform(default: Form, others: Mapping[str, Form], *arguments: Any) -> Array:
    """Evaluates a scalar function in the form for the platform that the program is lowered for.

    Value and gradient are computed in the same form. Only reverse-mode gradients are supported.

    Args:
      default: the function's usual form.
      others: other forms by the name of their platform: "cpu", "cuda", "rocm" or "tpu".
      arguments: trees of arrays of floats.
    """
    return _evaluate(default, tuple(others.items()), *arguments)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _evaluate(default: Form, others: tuple[tuple[str, Form], ...], *arguments: Any) -> Array:
    return jax.lax.platform_dependent(*arguments, default=default, **dict(others))


def _forward(
    default: Form, others: tuple[tuple[str, Form], ...], *arguments: Any
) -> tuple[Array, Any]:
    # If JAX differentiated the choice itself, the program would store what the gradients of all
    # forms need. So each form computes its gradient together with its value.
    def with_gradient(form: Form) -> Callable[..., tuple[Array, Any]]:
        return jax.value_and_grad(form, tuple(range(len(arguments))))

    forms = {platform: with_gradient(form) for platform, form in others}
    return jax.lax.platform_dependent(*arguments, default=with_gradient(default), **forms)


def _backward(
    default: Form, others: tuple[tuple[str, Form], ...], gradient: Any, cotangent: Array
) -> Any:
    return jax.tree.map(lambda leaf: leaf * cotangent, gradient)


_evaluate.defvjp(_forward, _backward)
