"""Models of sequences as files, compared with the models themselves."""

import jax
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, Unmixer
from distax.export import PLATFORMS, export, load
from distax.imaging.motion import MotionPrior, simulate
from distax.models import create
from distax.runtime.pytree import named_leaves
from distax.tracking import SequenceUnmixer
from tests.models.sizes import SEQUENCES

SENSOR = Sensor(height=9, width=9)
FRAMES = 6


@pytest.fixture(scope="module")
def frames():
    prior = MotionPrior(frames=FRAMES)
    return np.asarray(simulate(jax.random.key(1), 3, SENSOR, prior)[0])


@pytest.fixture(scope="module", params=sorted(SEQUENCES))
def unmixer(request, frames):
    """A small untrained model, whose brightest nodes are targets."""
    model = create(request.param, sensor=SENSOR, rngs=nnx.Rngs(0), **SEQUENCES[request.param])
    graph, state = nnx.split(model)
    grids = jax.jit(lambda state, frames: nnx.merge(graph, state)(frames))(state, frames)
    return SequenceUnmixer(model, float(np.quantile(grids, 0.999)))


@pytest.fixture(scope="module")
def loaded(unmixer, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "sequences.distax"
    export(unmixer, path, frames=FRAMES)
    return load(path)


def test_the_file_answers_as_the_model_does(unmixer, loaded, frames):
    for count in (1, 3):
        expected, found = named_leaves(unmixer(frames[:count])), loaded(frames[:count])
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-3, err_msg=name)
    assert 0 < expected["mask"].sum() < expected["mask"].size


def test_the_file_says_which_frames_it_answers(unmixer, loaded):
    about = loaded.description
    assert about["sequence"] == {"frames": FRAMES, "answered": [2, 3]}
    assert (about["method"], about["model"]) == ("sequence", type(unmixer.model).__name__)
    assert (about["threshold"], about["platforms"]) == (unmixer.threshold, list(PLATFORMS))
    assert about["inputs"]["images"]["shape"] == ["batch", FRAMES, 9, 9]
    assert about["outputs"]["position"]["shape"] == ["batch", 2, 16, 2]
    assert loaded.sensor == SENSOR


def test_the_grids_are_the_models(later, tmp_path, frames):
    unmixer = SequenceUnmixer(create("later", sensor=SENSOR, rngs=nnx.Rngs(0)))
    about = export(unmixer, tmp_path / "a.distax", grid=True, frames=FRAMES)
    assert (about["threshold"], about["sequence"]["answered"]) == (None, [1, 2, 3, 4])
    grid = load(tmp_path / "a.distax")(frames)["grid"]
    np.testing.assert_array_equal(grid[..., 1::3, 1::3], frames[:, 2:])
    assert grid.sum() == frames[:, 2:].sum()


def test_sequences_that_do_not_suit_the_file_are_refused(loaded, frames):
    with pytest.raises(DistaxError, match=r"sequences of 5 frames, and the .* for 6; give 6, or"):
        loaded(frames[:, :5])
    with pytest.raises(DistaxError, match=r"images: 8×9 px, the sensor has 9×9"):
        loaded(frames[:, :, :8])
    with pytest.raises(DistaxError, match=r"images: frame 0 of sequence 0, pixel \(0, 0\) is 30"):
        loaded(frames + 300)


def test_what_cannot_be_exported_is_refused(later, tmp_path):
    unmixer = SequenceUnmixer(create("later", rngs=nnx.Rngs(0)))
    with pytest.raises(DistaxError, match="a sequence of 2 frames is too short: Later answers"):
        export(unmixer, tmp_path / "a.distax", frames=2)
    with pytest.raises(DistaxError, match="frames has an effect on models of sequences only"):
        export(Unmixer(method="refine"), tmp_path / "a.distax", frames=20)
    other = SequenceUnmixer(
        type("Other", (type(unmixer.model),), {"answered": lambda self, frames: range(frames)})(
            rngs=nnx.Rngs(0)
        )
    )
    with pytest.raises(DistaxError, match=r"Other says that it answers 20 of 20 frames, but"):
        export(other, tmp_path / "a.distax")
    assert not list(tmp_path.iterdir())
