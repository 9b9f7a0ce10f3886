import pytest
from flax import nnx

from distax import DistaxError, Sensor
from distax.models import create
from distax.models import registry as registry_module
from distax.models.plugin import import_module_file

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


@pytest.fixture(autouse=True)
def models_of_this_test_only(monkeypatch):
    monkeypatch.setattr(registry_module, "_MODELS", dict(registry_module._MODELS))


def test_a_file_registers_its_model_once(tmp_path, monkeypatch):
    (tmp_path / "outsider.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        import_module_file("outsider.py")
    assert create("outsider", sensor=Sensor(), rngs=nnx.Rngs(0)).factor == 1


def test_what_is_no_python_file_is_named(tmp_path):
    with pytest.raises(DistaxError, match=r"none\.py: no such Python file; .* model there$"):
        import_module_file(str(tmp_path / "none.py"))
    with pytest.raises(DistaxError, match=r"none\.py: .* start distax in the folder it is in$"):
        import_module_file("none.py")


def test_a_file_that_fails_is_named_with_the_reason(tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind\n")
    for _ in range(2):
        with pytest.raises(DistaxError, match=r"broken\.py: cannot be imported \(ModuleNotFound"):
            import_module_file(str(tmp_path / "broken.py"))
