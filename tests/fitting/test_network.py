import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save

from distax import DistaxError
from distax.fitting.network import ModeNetwork, load_network, save_network
from distax.fitting.tokens import Tokens


@pytest.fixture(scope="module")
def tokens():
    """Tokens of five images with four modes of three targets."""
    rng = np.random.default_rng(0)
    shape = (5, 4, 3)
    root = rng.normal(0, 1, (*shape, 3, 3)) * np.array([0.05, 0.05, 4.0])[:, None]
    covariance = root @ root.swapaxes(-1, -2) + np.diag([1e-3, 1e-3, 4.0])
    evidence = -rng.exponential(2.0, shape[:2])
    arrays = {
        "position": rng.uniform(-0.5, 0.5, (*shape, 2)),
        "intensity": rng.uniform(220, 250, shape),
        "covariance": covariance,
        "step": rng.normal(0, 0.01, (*shape, 3)),
        "log_evidence": evidence - evidence.max(axis=1, keepdims=True),
        "log_squares": evidence - evidence.max(axis=1, keepdims=True),
        "crowding": rng.exponential(0.1, shape[:2]),
        "misfit": rng.uniform(0.5, 1.1, shape[:2]),
        "excess": np.where(rng.random(shape[:2]) < 0.5, np.inf, 2.0),
        "centre": np.zeros((*shape[:2], 2)),
        "room": np.full((5, 4), 4.0),
        "scale": np.full(5, 0.5),
        "middle": np.full(5, 235.0),
        "half_range": np.full(5, 15.0),
        "camera": rng.normal(0, 1, (5, 7)),
    }
    return Tokens(**jax.tree.map(jnp.float32, arrays))


@pytest.fixture(scope="module")
def network():
    made = ModeNetwork(width=16, blocks=2, rngs=nnx.Rngs(0))
    # Large outputs, so that nothing is tested only at the start of a training.
    made.out.kernel[...] = jax.random.normal(jax.random.key(1), made.out.kernel.shape)
    return made


apply = nnx.jit(lambda network, tokens: network(tokens))


def test_a_new_network_gives_the_gaussians_of_the_fits(tokens):
    made = ModeNetwork(width=16, blocks=1, rngs=nnx.Rngs(0))
    made.out.kernel[...] = jnp.zeros_like(made.out.kernel[...])
    mixture = apply(made, tokens)
    middle = mixture.mean.reshape(5, 4, 3, 3, 2)[..., 1, :]
    np.testing.assert_allclose(middle, tokens.position, rtol=1e-5)
    factor = mixture.factor.reshape(5, 4, 3, 3, 2, 2)[..., 1, :, :]
    np.testing.assert_allclose(
        factor @ factor.swapaxes(-1, -2), tokens.covariance[..., :2, :2], rtol=1e-3, atol=1e-5
    )
    weight = np.exp(mixture.log_weight).reshape(5, 4, 3, 3)
    expected = np.repeat(np.exp(tokens.log_evidence)[..., None], 3, axis=-1)
    np.testing.assert_allclose(
        weight[..., 0], expected / expected.sum(axis=(1, 2), keepdims=True) / 3, rtol=1e-4
    )


def test_the_order_of_modes_and_targets_does_not_matter(tokens, network):
    names = ("position", "intensity", "covariance", "step")
    of_mode = ("log_evidence", "log_squares", "crowding", "misfit", "excess", "centre")
    turned = {name: getattr(tokens, name)[:, ::-1, ::-1] for name in names}
    turned |= {name: getattr(tokens, name)[:, ::-1] for name in of_mode}
    mixture, again = apply(network, tokens), apply(network, tokens.replace(**turned))
    weight = mixture.log_weight.reshape(5, 4, 3, 3)[:, ::-1, ::-1].reshape(5, -1)
    np.testing.assert_allclose(again.log_weight, weight, atol=2e-4)


def test_a_saved_network_is_read_back(tokens, network, tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(path, network)
    np.testing.assert_array_equal(
        apply(load_network(path), tokens).mean, apply(network, tokens).mean
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "not a complete mode network"),
        (save({"a": np.zeros(3, np.float32)}), "not a complete mode network"),
        (save({"a": np.zeros(3, np.float32)}, {"width": "16", "depth": "1"}), "not a complete"),
    ],
)
def test_another_file_is_one_clear_error(content, message, tmp_path):
    path = tmp_path / "network.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DistaxError, match=message):
        load_network(path)


def test_a_network_of_another_size_is_refused(tmp_path):
    path = tmp_path / "network.safetensors"
    network = ModeNetwork(width=8, blocks=1, rngs=nnx.Rngs(0))
    network.width = 16
    save_network(path, network)
    with pytest.raises(DistaxError, match="its arrays do not match the stated sizes"):
        load_network(path)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"width": 6}, "width must be a multiple of 4, got 6"), ({"blocks": 0}, "blocks must be")],
)
def test_sizes_that_do_not_fit_are_named(sizes, message):
    with pytest.raises(DistaxError, match=message):
        ModeNetwork(**sizes, rngs=nnx.Rngs(0))
