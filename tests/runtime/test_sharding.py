import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.runtime.sharding import (
    check_divisible,
    data_mesh,
    divide_rows,
    gathered,
    local_rows,
    on_any_process,
    platform,
    replicate,
    replicated,
    sharded,
    state_shardings,
)


@pytest.fixture(scope="module")
def mesh():
    return data_mesh(jax.devices())


@pytest.mark.parametrize(
    ("batch", "nearest"), [(12, "8 or 16"), (9, "8 or 16"), (3, "8"), (65, "64 or 72")]
)
def test_a_batch_that_does_not_divide_names_the_nearest_that_do(mesh, batch, nearest):
    with pytest.raises(DistaxError, match=f"of {batch} .* by 8 devices; .* share is {nearest}$"):
        check_divisible(batch, mesh)


def test_batches_that_divide_pass(mesh):
    for batch in (8, 64):
        check_divisible(batch, mesh)


def test_devices_stand_in_the_same_order_however_they_are_given(mesh):
    assert data_mesh(jax.devices()[::-1]) == mesh
    assert [device.id for device in mesh.devices] == sorted(d.id for d in jax.devices())


def test_the_platform_is_that_of_the_mesh_not_of_the_default_backend(mesh, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert platform(mesh) == "cpu"


def test_arrays_are_sharded_along_their_longest_axis_that_divides(mesh):
    state = {
        "long": jnp.zeros((8, 24)),
        "first": jnp.zeros((16, 3)),
        "none": jnp.zeros((3, 5)),
        "number": jnp.zeros(()),
    }
    specs = {
        name: tuple(sharding.spec) for name, sharding in state_shardings(state, mesh, True).items()
    }
    assert specs == {
        "long": (None, "data"),
        "first": ("data",),
        "none": (),
        "number": (),
    }
    assert set(state_shardings(state, mesh, False).values()) == {replicated(mesh)}


def test_sharded_and_replicated_arrays_are_gathered_whole(mesh):
    numbers = np.arange(48.0).reshape(6, 8)
    tree = {
        "sharded": jax.device_put(numbers, sharded(mesh, axis=1)),
        "replicated": replicate(numbers, mesh),
    }
    assert len(tree["replicated"].sharding.device_set) == 8
    for leaf in gathered(tree, mesh).values():
        assert isinstance(leaf, np.ndarray)
        np.testing.assert_array_equal(leaf, numbers)


def test_one_process_has_all_rows_and_decides_alone(mesh):
    assert local_rows(16, mesh) == slice(0, 16)
    assert bool(on_any_process(True, mesh))
    assert not bool(on_any_process(False, mesh))


def test_rows_are_divided_over_devices_and_shared_arrays_are_whole():
    rows, scale = {"x": jnp.arange(16.0).reshape(8, 2)}, jnp.array([1.0, 10.0])

    def of_share(share, scale):
        assert share["x"].shape == (2, 2)
        return share["x"] @ scale + jnp.sum(share["x"])

    devices = tuple(jax.devices()[:4])
    found = jax.jit(lambda rows, scale: divide_rows(of_share, devices, rows, scale))(rows, scale)
    sums = jnp.repeat(jnp.sum(rows["x"].reshape(4, 4), axis=1), 2)
    np.testing.assert_allclose(found, rows["x"] @ scale + sums)
    assert found.sharding.device_set == set(devices)
