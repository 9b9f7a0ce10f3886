"""Lack of memory, as the host and a device report it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.runtime.memory import lack_of_memory

LINE = "the memory does not suffice"


def test_a_device_that_lacks_memory_is_told():
    with pytest.raises(jax.errors.JaxRuntimeError) as lack:
        jax.block_until_ready(jnp.ones((10**6, 10**7)) + 1)
    assert LINE in str(lack_of_memory(lack.value))


def test_a_host_that_lacks_memory_is_told():
    with pytest.raises(MemoryError) as lack:
        np.ones((10**6, 10**10))
    assert LINE in str(lack_of_memory(lack.value))


def test_other_errors_are_not_taken_for_lack_of_memory():
    assert lack_of_memory(ValueError("Out of memory")) is None
    assert lack_of_memory(jax.errors.JaxRuntimeError("INTERNAL: something else")) is None
