import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def experiment() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script of experiments/ by its name, with its folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))

        def load(name: str) -> ModuleType:
            spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)  # dataclasses look their module up
            spec.loader.exec_module(module)
            return module

        yield load
