import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from distax import DistaxError
from distax.runtime.sharding import (
    check_divisible,
    data_mesh,
    divide_rows,
    gathered,
    local_rows,
    make_mesh,
    mean_over_devices,
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
    assert [device.id for device in mesh.devices.flat] == sorted(d.id for d in jax.devices())


def test_each_slice_is_a_replica(monkeypatch):
    monkeypatch.setattr("distax.runtime.sharding._slice_of", lambda device: device.id % 2)
    devices = jax.devices()
    ids = [[device.id for device in replica] for replica in data_mesh(devices).devices]
    assert ids == [[0, 2, 4, 6], [1, 3, 5, 7]]
    with pytest.raises(DistaxError, match=r"equally many devices, got 4 of slice 0, 3 of slice 1"):
        data_mesh(devices[:7])


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_an_average_over_slices_is_that_over_all_devices(replicas):
    mesh = make_mesh(jax.devices(), replicas)
    # Seven numbers, which no number of devices divides.
    values = {
        "a": jax.random.normal(jax.random.key(0), (8, 5)),
        "b": jnp.arange(16.0).reshape(8, 2),
    }
    average = jax.shard_map(
        lambda tree: mean_over_devices(tree, mesh),
        mesh=mesh,
        in_specs=sharded(mesh).spec,
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    for name, mean in jax.jit(average)(values).items():
        np.testing.assert_allclose(mean[0], values[name].mean(axis=0), rtol=1e-6, atol=1e-7)


def test_a_sharded_state_is_whole_in_each_slice():
    mesh = make_mesh(jax.devices(), replicas=2)
    (sharding,) = state_shardings([jnp.zeros((3, 12))], mesh, True)
    assert sharding.shard_shape((3, 12)) == (3, 3)


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
