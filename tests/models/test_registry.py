import jax.numpy as jnp
import pytest
from flax import nnx

from distax import DistaxError, Sensor, make_targets, rasterize, render
from distax.models import Dista, GridModel, Model, create, names, register
from distax.models import registry as registry_module
from distax.models.registry import import_module_file


@pytest.fixture(autouse=True)
def models_of_this_test_only(monkeypatch):
    monkeypatch.setattr(registry_module, "_MODELS", dict(registry_module._MODELS))


def register_echo():
    @register("echo")
    class Echo(GridModel):
        def __init__(
            self,
            *,
            factor: int = 1,
            gain: float = 1.0,
            sensor: Sensor = Sensor(height=2, width=2),
            rngs: nnx.Rngs,
        ):
            super().__init__(factor, sensor)
            self.gain, self.key = gain, rngs.params()

        def __call__(self, images):
            return self.gain * images

    return Echo


def test_create_passes_options_and_keys_on():
    echo_class = register_echo()
    assert "echo" in names()
    model = create("echo", gain=2.0, rngs=nnx.Rngs(1))
    assert type(model) is echo_class
    assert (model.factor, model.gain) == (1, 2.0)
    assert model.key == nnx.Rngs(1).params()


def test_dista_is_registered():
    assert "dista" in names()
    model = nnx.eval_shape(lambda: create("dista", stages=2, channels=6, rngs=nnx.Rngs(0)))
    assert type(model) is Dista
    assert len(model.stages) == 2
    assert model.stages[0].inverse.second.shape == (3, 3, 6, 1)


def test_an_unknown_model_is_answered_with_the_nearest_name():
    register_echo()
    with pytest.raises(DistaxError, match=r"unknown model 'dist': did you mean 'dista'\?.*echo"):
        create("dist", rngs=nnx.Rngs(0))


def test_a_model_like_no_other_is_answered_with_all_names():
    with pytest.raises(DistaxError, match=r"unknown model 'zzz': known are .*dista") as error:
        create("zzz", rngs=nnx.Rngs(0))
    assert "did you mean" not in str(error.value)


def test_an_option_of_a_head_without_a_head_is_answered_with_the_heads():
    with pytest.raises(
        DistaxError, match=r"option head_width is for a head.*add the option head .*offset"
    ):
        create("cfgn", head_width=8, rngs=nnx.Rngs(0))


def test_an_unknown_option_is_answered_with_the_nearest_one():
    with pytest.raises(
        DistaxError, match=r"option 'chanels' of model 'dista': did you mean 'channels'\?.*stages"
    ) as error:
        create("dista", chanels=4, rngs=nnx.Rngs(0))
    assert "rngs" not in str(error.value)
    assert "self" not in str(error.value)


def test_a_name_is_registered_once():
    echo_class = register_echo()
    with pytest.raises(DistaxError, match="'echo' is already registered"):
        register("echo")(Dista)
    assert type(create("echo", rngs=nnx.Rngs(0))) is echo_class


def test_a_class_defined_again_takes_its_own_place():
    register_echo()
    again = register_echo()
    assert type(create("echo", rngs=nnx.Rngs(0))) is again


def test_the_contract_has_no_answer_of_its_own():
    with pytest.raises(TypeError, match="abstract"):
        GridModel(3, Sensor())


def test_the_default_objective_is_the_mean_square_error():
    register_echo()
    model = create("echo", gain=3.0, rngs=nnx.Rngs(0))
    images = jnp.array([[[1.0, 2.0], [0.0, 0.0]]])
    assert float(model.objective(images, jnp.zeros((1, 2, 2)))) == (9 + 36) / 4


def test_a_grid_model_learns_the_rasterized_targets_and_reports_its_brightest_nodes():
    register_echo()
    model = create("echo", gain=3.0, rngs=nnx.Rngs(0))
    images = jnp.array([[[1.0, 20.0], [30.0, 0.0]]])
    truth = make_targets(jnp.array([[[0.2, 0.9]]]), jnp.array([[50.0]]))
    grid = 3 * images - jnp.array([[[0.0, 50.0], [0.0, 0.0]]])
    assert float(model.loss(images, truth)) == float(jnp.mean(grid**2))
    found = model.detect(images)
    assert found.position[0, :2].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found.intensity[0][found.mask[0]].tolist() == [90.0, 60.0]
    assert int(model.detect(images, threshold=70.0).count[0]) == 1


@pytest.mark.parametrize("options", [{}, {"window": 7}])
def test_labels_are_blurred_as_asked_for(options):
    model = create("srcnn", label_blur=0.1, rngs=nnx.Rngs(0), **options)
    truth = make_targets(jnp.array([[[5.2, 4.9]]]), jnp.array([[240.0]]))
    images = render(truth, Sensor())
    output = model(images)
    error = float(model.loss(images, truth)) * (7 * 3 if options else 33) ** 2
    labels = rasterize(truth, Sensor(), 3, 0.1)
    assert error == pytest.approx(float(jnp.sum((output - labels) ** 2)), rel=1e-4)


def test_what_only_grid_models_take_is_refused_by_others():
    with pytest.raises(DistaxError, match="option 'label_blur' of model 'density'"):
        create("density", label_blur=0.1, rngs=nnx.Rngs(0))
    with pytest.raises(DistaxError, match="did you mean 'label_blur'"):
        create("srcnn", label_blurr=0.1, rngs=nnx.Rngs(0))
    with pytest.raises(DistaxError, match="label_blur must not be negative"):
        create("srcnn", label_blur=-0.1, rngs=nnx.Rngs(0))


MODEL = """
from flax import nnx
from distax.models import GridModel, register
from distax.imaging.sensor import Sensor


@register("outsider")
class Outsider(GridModel):
    def __init__(self, *, factor: int = 1, sensor: Sensor = Sensor(), rngs: nnx.Rngs):
        super().__init__(factor, sensor)

    def __call__(self, images):
        return 2 * images
"""


def test_a_file_registers_its_model_once(tmp_path, monkeypatch):
    (tmp_path / "outsider.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        import_module_file("outsider.py")
    assert create("outsider", sensor=Sensor(), rngs=nnx.Rngs(0)).factor == 1


def test_what_is_no_python_file_is_named(tmp_path):
    with pytest.raises(DistaxError, match=r"none\.py: no such file; .* model there$"):
        import_module_file(str(tmp_path / "none.py"))
    with pytest.raises(DistaxError, match=r"none\.py: .* start distax in the folder it is in$"):
        import_module_file("none.py")
    (tmp_path / "model.txt").write_text(MODEL)
    with pytest.raises(DistaxError, match=r"model\.txt: its name must end in \.py"):
        import_module_file(str(tmp_path / "model.txt"))


def test_a_file_that_fails_is_named_with_the_reason(tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind\n")
    for _ in range(2):
        with pytest.raises(DistaxError, match=r"broken\.py: cannot be imported \(ModuleNotFound"):
            import_module_file(str(tmp_path / "broken.py"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("espcn", {"head": 3}, "unknown head '3': known are offset"),
        ("espcn", {"head": ["offset"]}, "unknown head"),
        ("hit_sng", {"windows": 4}, "option windows must be a list of int, got 4"),
        ("hit_sng", {"windows": (2.0,)}, "option windows must be a list of int"),
        ("hit_sng", {"windows": (2, 2**31)}, "option windows must be at most 2,147,483,647"),
        ("espcn", {"factor": 10**30 + 1}, "factor must be at most 2,147,483,647 in size, got 10"),
        ("lamp", {"layers": 10**9}, r"layers must be at most 3000 in a network, got 1e\+09"),
        ("dista", {"channels": -(2**31)}, "option channels must be at most"),
    ],
)
def test_options_of_other_types_are_named(name, options, message):
    with pytest.raises(DistaxError, match=message):
        create(name, rngs=nnx.Rngs(0), **options)


class WithoutKeys(Model):
    def __init__(self, inner):
        pass


class WithRequired(Model):
    def __init__(self, inner, *, size, rngs):
        pass


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (WithoutKeys, "its __init__ got an unexpected keyword argument 'rngs'"),
        (WithRequired, "missing a required argument: 'size'"),
        (dict, "must be a subclass of Model"),
        (lambda inner, rngs: inner, "must be a subclass of Model"),
    ],
)
def test_heads_that_cannot_be_made_are_refused(head, message):
    with pytest.raises(DistaxError, match=message):
        registry_module.register_head("wrong")(head)
