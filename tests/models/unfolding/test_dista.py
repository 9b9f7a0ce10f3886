import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor, make_targets, rasterize, render
from distax.interop import grokcso
from distax.models import create
from distax.models.base import Constant
from distax.models.unfolding.initialization import simulated_estimator

SENSOR = Sensor(height=5, width=6)
STAGES, CHANNELS, HIDDEN = 2, 4, 8


def build(factor=3, **options):
    """Builds a small model with matrices that take no time to compute."""
    phi = SENSOR.sampling_matrix(factor)
    sizes = {"stages": STAGES, "channels": CHANNELS, "hidden": HIDDEN, "rngs": nnx.Rngs(0)}
    return create("dista", factor=factor, sensor=SENSOR, phi=phi, q_init=phi.T, **sizes | options)


@pytest.fixture(scope="module")
def small():
    return build()


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    truth = make_targets(
        jnp.float32(rng.uniform([1.5, 2.5], [2.5, 3.5], (3, 3, 2))),
        jnp.float32(rng.uniform(220, 250, (3, 3))),
        jnp.asarray(rng.random((3, 3)) < 0.8),
    )
    return render(truth, SENSOR), rasterize(truth, SENSOR, 3)


@pytest.fixture(scope="module")
def training(small, batch):
    """Returns the small model's parameters, and a function to their loss and its gradients."""
    graph, parameters, constants = nnx.split(small, nnx.Param, ...)

    def loss(parameters):
        return nnx.merge(graph, parameters, constants).objective(*batch)

    return parameters, jax.jit(jax.value_and_grad(loss))


@nnx.jit
def infer(model, images):
    return model(images)


@nnx.jit
def unroll(model, images):
    """Returns every stage's output, its static transform of r and its inverse transform of u."""
    outputs = model.unroll(images)
    static = [s.static_transform(o.r) for s, o in zip(model.stages, outputs, strict=True)]
    inverse = [s.inverse(o.u) for s, o in zip(model.stages, outputs, strict=True)]
    return outputs, static, inverse


def test_parity_with_the_original(reference):
    arrays = reference("dista_c3_stages2")
    prefix = "weights/"
    model = grokcso.load(
        "dista",
        {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)},
        factor=int(arrays["c"]),
        phi=arrays["phi"],
        q_init=arrays["q_init"],
        alpha=float(arrays["alpha"]),
    )
    images, stages = jnp.asarray(arrays["images"]).reshape(-1, 11, 11), arrays["stages"]

    @nnx.jit
    def run(model, images):
        outputs = model.unroll(images)
        residuals = [s.symmetry(o) for s, o in zip(model.stages, outputs, strict=True)]
        return [o.x for o in outputs], residuals, model(images)

    estimates, residuals, grids = run(model, images)

    def assert_close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    assert_close(images.reshape(10, -1) @ model.q_init[...].T, stages[:, 0])
    for stage in range(2):
        assert_close(estimates[stage], stages[:, stage + 1])
        assert_close(residuals[stage][:4, ..., 0], arrays["symmetry"][:, stage, 0])
    assert_close(grids.reshape(10, -1), stages[:, -1])


def test_every_parameter_has_a_finite_gradient_that_is_not_zero(training):
    parameters, loss_and_gradients = training
    leaves = jax.tree_util.tree_leaves_with_path(loss_and_gradients(parameters)[1])
    assert len(leaves) == 19 * STAGES
    for path, gradient in leaves:
        name = jax.tree_util.keystr(path)
        assert jnp.all(jnp.isfinite(gradient)), name
        assert jnp.any(gradient != 0), name


def test_gradients_say_by_how_much_a_step_lowers_the_loss(training):
    parameters, loss_and_gradients = training
    loss, gradients = loss_and_gradients(parameters)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradients)))
    step = 1e-3
    moved = jax.tree.map(lambda p, g: p - step * g / norm, parameters, gradients)
    np.testing.assert_allclose(loss - loss_and_gradients(moved)[0], step * norm, rtol=0.1)


def test_samples_do_not_depend_on_their_batch(small, batch):
    images, _ = batch
    together = infer(small, images)
    alone = jnp.concatenate([infer(small, image[None]) for image in images])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(together).max())
    assert np.abs(together[0] - together[1]).max() > 1e-3 * np.abs(together).max()


def test_loss_is_the_published_formula(small, batch):
    images, grids = batch
    outputs, _, inverse = unroll(small, images)
    error = np.mean((outputs[-1].x - grids.reshape(3, -1)) ** 2)
    symmetry = sum(np.mean((g - o.r) ** 2) for g, o in zip(inverse, outputs, strict=True))
    assert symmetry > 0.01 * error
    heavy = build(symmetry_weight=0.5)
    np.testing.assert_allclose(small.objective(*batch), error + 0.01 * symmetry, rtol=1e-5)
    np.testing.assert_allclose(heavy.objective(*batch), error + 0.5 * symmetry, rtol=1e-5)


def test_inference_does_not_compute_the_symmetry_residual(small, batch):
    images, grids = batch

    def flops(function, *arguments):
        return jax.jit(function).lower(*arguments).cost_analysis()["flops"]

    inference, training = flops(small, images), flops(small.objective, images, grids)
    # An inverse transform a stage is a conv3×3 C → C and one C → 1, on 3 images.
    one_inverse = 3 * grids[0].size * 2 * 9 * (CHANNELS * CHANNELS + CHANNELS)
    assert training - inference > 0.8 * STAGES * one_inverse
    assert inference < flops(lambda images: small.unroll(images)[-1].x, images) * 1.001


@pytest.mark.parametrize("factor", [3, 5, 7])
def test_the_first_steps_follow_the_equations_at_every_factor(factor, batch):
    model, images = build(factor, stages=1), batch[0]
    y, phi = np.asarray(images, float).reshape(3, -1), np.asarray(model.phi[...], float)
    x = y @ np.asarray(model.q_init[...], float).T
    ((output,), (static,), _), stage = unroll(model, images), model.stages[0]

    r = x - 0.5 * x @ phi.T @ phi + 0.5 * y @ phi
    np.testing.assert_allclose(output.r.reshape(3, -1), r, rtol=0, atol=1e-5 * np.abs(r).max())

    dynamic = stage.dynamic_transform
    hidden = jnp.float32(x) @ dynamic.compress.kernel[...] + dynamic.compress.bias[...]
    kernels = (hidden @ dynamic.expand.kernel[...] + dynamic.expand.bias[...]).reshape(3, 3, 3)
    response = np.pad(np.asarray(output.r[..., 0]), ((0, 0), (1, 1), (1, 1)))
    height, width = output.r.shape[1:3]
    filtered = sum(
        response[:, i : i + height, j : j + width] * np.asarray(kernels[:, i, j, None, None])
        for i in range(3)
        for j in range(3)
    )
    u = 0.7 * static + 0.3 * jax.nn.sigmoid(filtered)[..., None]
    np.testing.assert_allclose(output.u, u, rtol=0, atol=1e-4 * np.abs(u).max())
    assert output.r.shape == (3, factor * 5, factor * 6, 1)


def parameters(**options):
    model = nnx.eval_shape(lambda: create("dista", rngs=nnx.Rngs(0), **options))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_the_number_of_parameters_is_the_published_one():
    assert parameters() == 2_179_104
    assert parameters(stages=1) == 363_184
    # Only the hypernetwork's first layer grows with the grid.
    assert parameters(factor=7, stages=1) == 363_184 + 256 * (77**2 - 33**2)


def test_matrices_are_constants_not_parameters(small):
    shapes = {leaf.shape for leaf in jax.tree.leaves(nnx.state(small, nnx.Param))}
    assert small.phi.shape not in shapes
    assert len(jax.tree.leaves(nnx.state(small, Constant))) == 2


def test_initial_parameters_are_a_function_of_the_key():
    first, again = (nnx.state(build(), nnx.Param) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = nnx.state(build(rngs=nnx.Rngs(1)), nnx.Param)
    equal = jax.tree.map(lambda a, b: bool(jnp.any(a == b)), first, other)
    assert sum(jax.tree.leaves(equal)) == STAGES  # the step sizes alone do not depend on it


def test_stages_do_not_share_weights(small):
    first, second = (stage.static_transform.second[...] for stage in small.stages)
    assert not np.any(first == second)


def test_without_matrices_they_come_from_the_sensor():
    model = create(
        "dista", sensor=SENSOR, stages=1, channels=CHANNELS, hidden=HIDDEN, rngs=nnx.Rngs(0)
    )
    np.testing.assert_array_equal(model.phi[...], SENSOR.sampling_matrix(3))
    np.testing.assert_array_equal(model.q_init[...], simulated_estimator(SENSOR, 3))


@pytest.mark.parametrize(
    "options",
    [
        {"stages": 0},
        {"channels": 0},
        {"channels": -2},
        {"channels": 5},
        {"hidden": 0},
    ],
    ids=str,
)
def test_sizes_that_make_no_model_are_refused(options):
    with pytest.raises(DistaxError, match=next(iter(options))):
        build(**options)


@pytest.mark.parametrize("factor", [2, 0, -3])
def test_an_even_factor_is_refused(factor):
    with pytest.raises(DistaxError, match="odd"):
        create("dista", factor=factor, rngs=nnx.Rngs(0))


def test_an_even_factor_is_refused_even_with_matrices_given():
    phi = jnp.zeros((30, 120))
    with pytest.raises(DistaxError, match="odd"):
        create("dista", factor=2, sensor=SENSOR, phi=phi, q_init=phi.T, rngs=nnx.Rngs(0))


def test_matrices_of_another_factor_are_refused():
    phi = SENSOR.sampling_matrix(5)
    with pytest.raises(DistaxError, match=r"phi.*\(30, 750\).*\(30, 270\)"):
        create("dista", factor=3, sensor=SENSOR, phi=phi, q_init=phi.T, rngs=nnx.Rngs(0))


WINDOW = 5


@pytest.fixture(scope="module")
def scenes():
    """Renders blobs in the middle of an image and at its border, with their grids."""
    place = jnp.float32([[4.1, 5.2], [1.2, 7.9], [6.8, 0.9]])[:, None]
    truth = make_targets(place, jnp.full((3, 1), 230.0))
    sensor = Sensor(height=9, width=10)
    return sensor, render(truth, sensor), rasterize(truth, sensor, 3)


def windowed(sensor, **options):
    seen = Sensor(height=WINDOW, width=WINDOW)
    phi = seen.sampling_matrix(3)
    sizes = {"stages": STAGES, "channels": CHANNELS, "hidden": HIDDEN, "rngs": nnx.Rngs(0)}
    return create("dista", sensor=sensor, window=WINDOW, phi=phi, q_init=phi.T, **sizes | options)


def test_a_windowed_model_is_a_smaller_one_on_what_the_window_shows(scenes):
    sensor, images, grids = scenes
    model = windowed(sensor)
    seen = Sensor(height=WINDOW, width=WINDOW)
    small = create(
        "dista",
        sensor=seen,
        stages=STAGES,
        channels=CHANNELS,
        hidden=HIDDEN,
        phi=seen.sampling_matrix(3),
        q_init=seen.sampling_matrix(3).T,
        rngs=nnx.Rngs(0),
    )
    found = infer(model, images)
    assert found.shape == grids.shape
    for one, (row, column) in enumerate([(4, 5), (1, 8), (7, 1)]):
        top, left = row - 2, column - 2
        inside = np.pad(np.asarray(images[one]), 2)[top + 2 : top + 7, left + 2 : left + 7]
        part = np.asarray(infer(small, jnp.asarray(inside)[None])[0])
        canvas = np.zeros((39, 42), np.float32)
        canvas[3 * top + 6 : 3 * top + 21, 3 * left + 6 : 3 * left + 21] = part
        np.testing.assert_allclose(found[one], canvas[6:-6, 6:-6], atol=1e-3)


def test_the_windowed_objective_is_that_of_the_windows(scenes):
    sensor, images, grids = scenes
    model = windowed(sensor, symmetry_weight=0.0)
    # Beyond the image neither has anything; within it only the windows differ from zero.
    error = jnp.sum((infer(model, images) - grids) ** 2) / (3 * 15**2)
    assert float(model.objective(images, grids)) == pytest.approx(float(error), rel=0.05)


@pytest.mark.parametrize("side", [0, 4, -7])
def test_a_window_has_a_middle(side):
    with pytest.raises(DistaxError, match="window must be an odd number of pixels"):
        build(window=side)


def test_bfloat16_maps_keep_parameters_and_answers_in_float32(small, batch):
    images, grids = batch
    model = build(precision="bfloat16")
    outputs, exact = model.unroll(images), small.unroll(images)
    assert outputs[0].u.dtype == jnp.bfloat16
    for mine, theirs in zip(outputs, exact, strict=True):
        assert mine.x.dtype == mine.r.dtype == jnp.float32
        scale = float(jnp.abs(theirs.x).max())
        np.testing.assert_allclose(mine.x, theirs.x, rtol=0, atol=0.08 * scale)
    loss, gradients = nnx.value_and_grad(lambda model: model.objective(images, grids))(model)
    assert loss.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradients))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(model)))
    assert float(loss) == pytest.approx(float(small.objective(images, grids)), rel=0.03)


def test_rematerialised_stages_have_the_same_gradients(training, batch):
    parameters, exact = training
    graph, _, constants = nnx.split(build(rematerialize=True), nnx.Param, ...)
    again = jax.jit(
        jax.value_and_grad(
            lambda parameters: nnx.merge(graph, parameters, constants).objective(*batch)
        )
    )
    assert "remat" in str(jax.make_jaxpr(again)(parameters))
    # One operation after the other, because the two compiled programs round differently: by 1.5e-4
    # here under JAX 0.12, where float32 itself costs these gradients 5e-4. Operation by operation
    # they differ by 4e-7, and in float64 by 2e-15.
    with jax.disable_jit():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max()),
            again(parameters),
            exact(parameters),
        )
