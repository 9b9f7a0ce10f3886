from dataclasses import replace
from functools import partial
from warnings import catch_warnings, simplefilter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, DistaxWarning, Sensor, Unmixer, decode, make_targets
from distax.fitting.estimators import Fast, FastFit, Grid, Refine
from distax.fitting.patch import cut_rows, window_width
from distax.fitting.posterior import posterior_rows
from distax.fitting.refine import refine
from distax.fitting.sampler import Effort
from distax.fitting.self_calibration import FittedSensor
from distax.imaging.scenes import ScenePrior, simulate
from distax.metrics import assign, cso_map
from distax.models import Model, create
from distax.training.building import create_model
from distax.training.checkpoints import load_model
from distax.weights import export, write

SINGLE = ScenePrior(max_targets=1)
SENSOR = Sensor(read_noise=1.0)
EFFORT = Effort(particles=128, levels=4, moves=3)


class Peak(Model):
    """Reports one target on the brightest pixel."""

    def loss(self, images, targets):
        raise NotImplementedError

    def detect(self, images):
        brightest = jnp.argmax(images.reshape(len(images), -1), axis=1)
        place = jnp.stack(jnp.divmod(brightest, images.shape[2]), axis=-1)
        return make_targets(place[:, None].astype(float), jnp.max(images, axis=(1, 2))[:, None])


ESTIMATORS = [
    partial(estimator, sensor=Sensor(), prior=SINGLE)
    for estimator in (Refine(), Fast(Peak()), Grid(create("nnls", rngs=nnx.Rngs(0))))
]


@pytest.fixture(scope="module")
def unmixer(tiny_run):
    return Unmixer.load(tiny_run, threshold=20.0)


@pytest.fixture(scope="module")
def images():
    return np.asarray(simulate(jax.random.key(3), 300, Sensor(), ScenePrior())[0])


@pytest.fixture(scope="module")
def singles():
    """Eight images of one target each, and the targets."""
    frames, targets = simulate(jax.random.key(4), 8, SENSOR, SINGLE)
    return np.array(frames), targets


@pytest.fixture(scope="module")
def fitter():
    return Unmixer(method="refine", sensor=SENSOR, prior=SINGLE)


@pytest.fixture(scope="module")
def sampler():
    return Unmixer(method="posterior", sensor=SENSOR, prior=SINGLE, effort=EFFORT, seed=3)


def same(found, expected, rtol=1e-5):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-6), found, expected)


def test_grid_decodes_what_the_model_of_the_run_answers(unmixer, images, tiny_run):
    assert unmixer.method == "grid"
    found = unmixer(images[:20])
    expected = decode(load_model(tiny_run)[0](jnp.asarray(images[:20])), threshold=20.0)
    assert found.mask.any()
    same(found, expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["fista", "nnls"])
def test_classical_models_need_no_training(name, images):
    unmixer = Unmixer.load(name)
    assert unmixer.method == "grid"
    assert unmixer(images[:4]).mask.any(axis=1).all()


def test_a_safetensors_file_is_as_good_as_its_run(unmixer, images, tiny_run, tmp_path):
    export(tiny_run, tmp_path / "tiny.safetensors", half=False)
    same(
        Unmixer.load(tmp_path / "tiny.safetensors", threshold=20.0)(images[:4]), unmixer(images[:4])
    )


def test_what_is_reported_is_what_the_training_s_evaluations_reported(tiny_config, tmp_path):
    file = tmp_path / "own.safetensors"
    write(create_model(tiny_config), replace(tiny_config, threshold=20.0), file)
    assert Unmixer.load(file).threshold == 20.0
    assert Unmixer.load(file, threshold=30.0).threshold == 30.0
    assert Unmixer.load("cfgn").threshold == Unmixer.load("nnls").threshold == 50.0


def test_fast_reports_what_its_model_detects(images):
    unmixer = Unmixer(model=Peak())
    assert unmixer.method == "fast"
    found = unmixer(images)
    peak = images.reshape(300, -1).argmax(axis=1)
    np.testing.assert_array_equal(found.position[:, 0], np.stack(np.divmod(peak, 11), axis=-1))


def test_refine_reports_the_least_squares_answers(fitter, singles):
    frames, targets = singles
    found = fitter(frames)
    answers = jax.jit(lambda images: refine(images, SENSOR, SINGLE))(jnp.asarray(frames))
    same(found, answers, rtol=1e-4)
    assert np.asarray(assign(found, targets).distance).max() < 0.05


def test_posterior_reports_the_samplers_answers(fitter, sampler, singles):
    frames, targets = singles
    found, fitted = sampler(frames), fitter(frames)
    rows = cut_rows(frames, SENSOR, window_width(SENSOR, SINGLE.cluster))
    same(found, posterior_rows(rows, fitted, SENSOR.psf, SINGLE, EFFORT, 3))
    assert np.asarray(assign(found, targets).distance).max() < 0.05
    assert not np.allclose(found.position, fitted.position, atol=1e-6)


def test_images_that_the_imaging_model_does_not_explain_are_warned_of(fitter):
    """Of few images that says little; and of the sensor's own images there is no warning."""

    def taken_by(sensor):
        return np.asarray(simulate(jax.random.key(5), 16, sensor, SINGLE)[0])

    wider = taken_by(Sensor(sigma=0.6, read_noise=1.0))
    with catch_warnings():
        simplefilter("error")
        assert not fitter(wider[:8]).trusted.any()
        assert fitter(taken_by(SENSOR)).trusted.all()
    with pytest.warns(
        DistaxWarning, match=r"median misfit of 16 images is [1-9].*check the sensor"
    ):
        fitter(wider)


def test_long_stacks_are_cut_and_put_together(unmixer, images):
    found, tail = unmixer(images), unmixer(images[280:])
    assert found.mask.shape[0] == 300
    np.testing.assert_array_equal(found.mask[280:], tail.mask)
    np.testing.assert_allclose(found.intensity[280:], tail.intensity, rtol=1e-4)


def test_portions_of_any_size_make_the_same_answers_to_the_last_bit(
    unmixer, fitter, images, singles
):
    for one, stack in ((unmixer, images[:37]), (fitter, singles[0])):
        whole = one.unmix_portion(stack)
        assert len(whole.mask) == len(stack)
        for cuts in ([1, 7], [5]):
            parts = [one.unmix_portion(part) for part in np.split(stack, cuts)]
            together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
            jax.tree.map(np.testing.assert_array_equal, together, whole)


def test_progress_is_told_after_every_portion(unmixer, images):
    told = []
    found = unmixer(images, told.append)
    assert told == [*range(unmixer.portion_size, 300, unmixer.portion_size), 300]
    same(found, unmixer(images))


def test_without_a_method_the_best_that_suits_is_taken():
    assert isinstance(Unmixer(prior=ScenePrior(), sensor=Sensor()).estimator, Fast)
    assert isinstance(Unmixer(sensor=SENSOR).estimator, FastFit)
    assert isinstance(Unmixer(prior=SINGLE).estimator, FastFit)
    assert Unmixer(sensor=replace(SENSOR, sigma=2.0)).method == "posterior"
    assert Unmixer(prior=replace(SINGLE, max_intensity=3000.0)).method == "posterior"


def test_fast_refuses_a_sensor_out_of_its_range():
    with pytest.raises(DistaxError, match=r"sigma is 2 px, .* choose the method refine or post"):
        Unmixer(method="fast", sensor=replace(SENSOR, sigma=2.0))


def test_fast_is_closer_than_refine_on_images_of_another_sensor():
    frames, truth = simulate(jax.random.key(6), 200, SENSOR, ScenePrior())
    score, inside = {}, {}
    for method in ("refine", "fast"):
        found = Unmixer(method=method, sensor=SENSOR)(frames)
        pairing = assign(jax.tree.map(jnp.asarray, found), truth)
        score[method] = float(cso_map(found, truth).mean)
        reach = np.take_along_axis(np.asarray(found.credible_radius), np.array([[[1]]]), axis=-1)
        inside[method] = np.mean((pairing.distance <= reach[..., 0])[np.asarray(found.mask)])
    assert score["fast"] > score["refine"] + 0.005
    assert 0.86 < inside["fast"] < 0.94


def test_a_bad_image_is_named_and_the_others_are_answered_as_without_it(fitter, singles):
    frames, _ = singles
    expected, broken = fitter(frames), frames.copy()
    broken[2, 3, 4], broken[5] = 300.0, np.nan
    with pytest.warns(DistaxWarning, match="not unmixed") as caught:
        found = fitter(broken)
    (line,) = (str(warning.message) for warning in caught)
    assert line.startswith("not unmixed: image 2, pixel (3, 4) is ")
    assert "; image 5, every pixel is " in line
    bad = np.isin(np.arange(8), [2, 5])
    assert not found.mask[bad].any()
    assert not found.trusted[bad].any()
    same(*(jax.tree.map(lambda leaf: np.asarray(leaf)[~bad], one) for one in (found, expected)))


def test_of_many_bad_images_the_first_are_named(images):
    broken = images[:9].copy()
    broken[:8, 0, 0] = np.nan
    with pytest.warns(DistaxWarning) as caught:
        Unmixer(model=Peak())(broken)
    (line,) = (str(warning.message) for warning in caught)
    assert line.count("; image ") == 4
    assert line.endswith("; and 3 more")


def test_methods_that_state_no_trust_distrust_bad_images_too(images):
    broken = images[:4].copy()
    broken[1, 0, 0] = np.nan
    with pytest.warns(DistaxWarning, match=r"not unmixed: image 1, pixel \(0, 0\) is NaN or inf"):
        found = Unmixer(model=Peak())(broken)
    np.testing.assert_array_equal(found.trusted, [True, False, True, True])
    np.testing.assert_array_equal(found.mask[:, 0], [True, False, True, True])


@pytest.mark.parametrize("method", ["fitter", "sampler"])
def test_pixels_that_are_nan_are_left_out_of_fits(method, singles, request):
    """Whatever they would have read, and without a warning."""
    unmixer = request.getfixturevalue(method)
    frames, targets = singles
    row, column = np.round(np.asarray(targets.position[:, 0])).astype(int).T
    dead = frames.copy()
    dead[np.arange(8), row - 1, column] = np.nan
    dead[:, 0, 0] = np.nan
    with catch_warnings():
        simplefilter("error")
        found = unmixer(dead)
    distance = np.asarray(assign(found, targets).distance)
    assert distance.max() < 0.1
    # What is not known makes the answer less certain.
    assert np.median(found.position_std / unmixer(frames).position_std) > 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :10], r"images: 10×11 px, the sensor has 11×11; cut that window"),
        (lambda a: a[:0], "no images to unmix"),
        (lambda a: np.where(np.arange(11) == 3, np.nan, a), r"image 0, pixel \(0, 3\) is NaN"),
        (lambda a: a + 300, r"image 0, pixel \(0, 0\) is 300, outside the 0\.\.255 counts"),
        (lambda a: a - 1, r"pixel \(0, 0\) is -1, outside"),
    ],
)
def test_stacks_without_one_image_that_can_be_used_are_refused(unmixer, images, change, message):
    with pytest.raises(DistaxError, match=message):
        unmixer(change(images[:2]))


def test_images_of_which_nothing_is_known_are_refused(fitter):
    with pytest.raises(DistaxError, match="image 0, every pixel is NaN"):
        fitter(np.full((2, 11, 11), np.nan))


def test_an_unknown_method_lists_the_known_ones(unmixer):
    with pytest.raises(DistaxError, match="unknown method 'gird': did you mean 'grid'"):
        Unmixer(method="gird", model=unmixer.model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"the method grid needs a grid model: give one by model=, .*Unmixer\.load"),
        (Peak(), "method grid does not suit a model of type Peak"),
    ],
)
def test_a_method_without_a_model_that_suits_it_is_refused(model, message):
    with pytest.raises(DistaxError, match=message):
        Unmixer(method="grid", model=model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 5}, "seed has no effect on the method fast: leave it out, or choose posterior"),
        ({"threshold": 10.0}, "threshold has no effect on the method fast: .* choose grid"),
        ({"method": "refine", "threshold": 10.0}, "threshold has no effect on the method refine"),
        ({"method": "refine", "effort": EFFORT}, "effort has no effect on the method refine"),
        ({"method": "refine", "model": Peak()}, "model has no effect .* choose fast or grid"),
        ({"model": Peak(), "prior": SINGLE}, "the model has the prior of its training"),
        ({"method": Fast(Peak()), "prior": SINGLE}, "prior has no effect on the estimator fast"),
        ({"method": Refine(), "seed": 5}, "seed has no effect on the estimator refine"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(DistaxError, match=message):
        Unmixer(**options)
    with pytest.raises(DistaxError, match="threshold has no effect on the method fast"):
        Unmixer.load("density", threshold=10.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": 5}, "method must be of type str or Estimator or None, got 5"),
        ({"method": Refine}, "got the class Refine; make an instance of it"),
        ({"sensor": "camera.toml"}, "sensor must be of type Sensor or None, got 'camera.toml'"),
        ({"prior": Sensor()}, "prior must be of type ScenePrior or None, got a Sensor"),
        ({"model": 5}, "model must be of type Model or None, got 5"),
        ({"sensor": Sensor(sigma=np.array([0.5, 0.6]))}, "sigma holds 2 numbers, but one is"),
        ({"model": create("nnls", rngs=nnx.Rngs(0)), "threshold": 0.0}, "threshold must be great"),
    ],
)
def test_options_of_other_types_are_refused(options, message, any_types):
    with pytest.raises(DistaxError, match=message):
        Unmixer(**options)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 11, 11), complex), "images: an array of complex128, not of counts"),
        ("abc", "images: an array of <U3, not of counts"),
        (np.zeros((2, 5, 5)), "images: 5×5 px, the sensor has 11×11"),
        (np.zeros((11, 11)), "a stack of images has three axes"),
    ],
)
@pytest.mark.parametrize("use", [Unmixer(model=Peak()), Unmixer(model=Peak()).check, *ESTIMATORS])
def test_other_arrays_than_stacks_of_counts_are_refused_everywhere(use, images, message, any_types):
    with pytest.raises(DistaxError, match=message):
        use(images)


def test_masked_pixels_count_as_nan():
    masked = np.ma.masked_array(np.full((1, 11, 11), 9.0), mask=True)
    with pytest.raises(DistaxError, match="every pixel is NaN"):
        Unmixer(method="refine")(masked)
    with pytest.raises(DistaxError, match="NaN or infinite; replace bad pixels first"):
        Unmixer(model=Peak())(masked)


def test_an_unmixer_cannot_be_traced():
    with pytest.raises(
        DistaxError, match=r"images must be known, not traced.*refine, which can be"
    ):
        jax.jit(Unmixer(model=Peak()))(jnp.zeros((1, 11, 11)))


@pytest.mark.parametrize(
    "make",
    [lambda x: {"sensor": Sensor(sigma=x)}, lambda x: {"prior": ScenePrior(cluster=x)}],
)
def test_a_traced_sensor_or_prior_is_refused(make):
    with pytest.raises(DistaxError, match=r"(sigma|cluster) must be known, not traced"):
        jax.jit(lambda x: Unmixer(**make(x)).method)(1.0)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(DistaxError, match=f"{tmp_path}/nothing.*no checkpoint there"):
        Unmixer.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "densiti",
            "unknown model 'densiti': did you mean 'density'.*or give a training run's folder",
        ),
        ("none.safetensors", "none.safetensors: no such file of weights"),
        ("no/folder/a.safetensors", "no/folder/a.safetensors: no such file of weights"),
        ("", "unknown model '': known are bid, cfgn, cfgn_offset, density, dista"),
        ("edsr", "comes without weights of the model edsr; train it, and give the run's folder"),
        ("derefnet", "comes without weights of the model derefnet; train it"),
        (None, "name must be text or a path, got None"),
        (5, "name must be text or a path, got 5"),
    ],
)
def test_a_name_that_loads_nothing_is_refused(name, message, any_types):
    with pytest.raises(DistaxError, match=message):
        Unmixer.load(name)


def test_the_sensor_is_the_models():
    sensor = Sensor(sigma=0.9, height=9)
    unmixer = Unmixer(model=create("fista", sensor=sensor, rngs=nnx.Rngs(0)))
    assert unmixer.sensor == sensor
    assert unmixer.prior == ScenePrior()
    assert Unmixer(method="refine", sensor=sensor).sensor == sensor


def test_a_model_and_a_prior_for_other_images_are_refused():
    model = create("fista", sensor=Sensor(sigma=0.9), rngs=nnx.Rngs(0))
    with pytest.raises(DistaxError, match=r"the model is for Sensor\(.*0\.9.*leave the sensor out"):
        Unmixer(model=model, sensor=Sensor())
    with pytest.raises(
        DistaxError, match="a border of 6 px leaves no host pixel in an image of 11"
    ):
        Unmixer(method="refine", prior=ScenePrior(border=6))


def test_a_background_too_large_for_float32_is_refused():
    camera = Sensor(background=1e9, read_noise=3.0, saturation=None, bit_depth=None)
    with pytest.raises(DistaxError, match=r"background of 1e\+09 counts .* 64 counts apart"):
        Unmixer(method="refine", sensor=camera)


def test_a_calibrated_unmixer_has_the_method_and_a_sensor_fitted_to_the_images():
    camera = Sensor(read_noise=2.0, background=10.0)
    frames, _ = simulate(jax.random.key(5), 64, camera, SINGLE)
    told = replace(camera, sigma=0.55, background=13.0)
    before = Unmixer(method="refine", sensor=told, prior=SINGLE)
    after = before.calibrated(frames)
    assert after.method == "refine"
    assert after.prior == SINGLE
    np.testing.assert_allclose(after.sensor.sigma, 0.5, rtol=0.03)
    assert abs(after.sensor.background - 10.0) < 0.3
    assert after.fitted.sensor == after.sensor
    assert len(after.fitted.std["sigma"]) == 2
    assert before.fitted is None
    assert before.sensor == told


def test_the_network_of_the_default_sensor_is_replaced_by_the_one_for_all(monkeypatch):
    fitted = FittedSensor(
        sensor=Sensor(sigma=(0.52, 0.52)),
        std={"sigma": (0.001, 0.001)},
        kept=(),
        rounds=5,
        images=64,
    )
    monkeypatch.setattr("distax.unmixer.fit_sensor", lambda images, sensor, prior: fitted)
    after = Unmixer(method="fast").calibrated(np.zeros((64, 11, 11)))
    assert isinstance(after.estimator, FastFit)
    assert after.sensor == fitted.sensor


def test_a_model_for_one_sensor_cannot_be_calibrated(unmixer, images):
    with pytest.raises(DistaxError, match="the method grid is for its own sensor"):
        unmixer.calibrated(images)


def test_a_model_of_sequences_is_refused():
    model = nnx.eval_shape(lambda: create("tdan", rngs=nnx.Rngs(0)))
    with pytest.raises(DistaxError, match=r"Tdan takes sequences, .*: run it by `distax track`"):
        Unmixer(model=model)
