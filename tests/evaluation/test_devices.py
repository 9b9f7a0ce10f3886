from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, models
from distax.evaluation import devices, evaluate
from distax.evaluation.devices import Scorer, sum_over_devices
from distax.imaging.scenes import ScenePrior, simulate
from distax.runtime import sharding as parallel


@dataclass(frozen=True)
class Weigh(Scorer[dict]):
    """Computes sums that show which rows were counted, and at which places of their batch."""

    batch: int

    def __call__(self, arrays, rows, index):
        valid = index >= 0
        numbers = jnp.where(valid, rows["number"], 0)
        places = jnp.arange(len(valid)) % self.batch
        return {
            "rows": jnp.sum(valid),
            "weighted": arrays * jnp.sum(numbers),
            "out of place": jnp.sum(valid & (rows["number"] % self.batch != places)),
            "misnumbered": jnp.sum(valid & (rows["number"] != index)),
        }


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [1, 7, 24, 100])
def test_every_row_is_counted_once_at_its_place(length, count, monkeypatch):
    monkeypatch.setattr(devices, "IMAGES_A_CALL", 10)
    rows = {"number": np.arange(length), "more": np.zeros((length, 2))}
    sums = sum_over_devices(Weigh(5), np.int32(3), rows, 5, jax.devices()[:count])
    weighted = 3 * sum(range(length))
    expected = {"rows": length, "weighted": weighted, "out of place": 0, "misnumbered": 0}
    assert sums == expected


def test_progress_is_told_after_every_call_but_the_last():
    rows, done = {"number": np.arange(24)}, []
    options = {"rows_a_call": 10, "advance": done.append}
    sums = sum_over_devices(Weigh(5), np.int32(3), rows, 5, jax.devices()[:1], **options)
    assert done == [10, 20]
    assert (int(sums["rows"]), int(sums["weighted"])) == (24, 3 * sum(range(24)))


def test_an_evaluation_is_the_same_to_the_last_bit_on_1_2_and_8_devices():
    options = {"stages": 1, "channels": 4, "hidden": 8}
    model = models.create("dista", rngs=nnx.Rngs(0), **options)
    images, truth = simulate(jax.random.key(0), 37)
    first, *others = (
        evaluate(
            model,
            images,
            truth,
            Sensor(),
            threshold=10.0,
            batch_size=4,
            prior=ScenePrior(),
            devices=jax.devices()[:count],
        )
        for count in (1, 2, 8)
    )
    assert first.images == 37
    assert 0 < first.cso_map < 1
    assert first.rmse > 0
    assert first.psnr > 0
    assert others == [first, first]


def test_virtual_devices_without_threads_are_refused_rather_than_hang(monkeypatch):
    monkeypatch.setenv("NPROC", "8")
    with pytest.raises(DistaxError, match=r"need at least 16 threads, .* NPROC=16 beforehand"):
        parallel.data_mesh(jax.devices())
    assert parallel.data_mesh(jax.devices()[:4]).size == 4
