"""Models in files of their own, outside distax."""

import importlib.util
import sys
from pathlib import Path

from distax.runtime.errors import DistaxError


def import_module_file(path: str) -> None:
    """Import a Python file, once, so that the models in it are registered.

    Args:
      path: of the file; relative to the working directory.

    Raises:
      DistaxError: there is no such file, or running it fails.
    """
    file = Path(path).resolve()
    name = f"distax models in {file}"
    if name in sys.modules:
        return
    if file.suffix != ".py" or not file.is_file():
        elsewhere = "" if Path(path).is_absolute() else ", or start distax in the folder it is in"
        raise DistaxError(
            f"{path}: no such Python file; put the one that registers the model there{elsewhere}"
        )
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    # Whatever the file does wrong is the user's to see, in one line.
    except Exception as error:
        del sys.modules[name]
        raise DistaxError(
            f"{path}: cannot be imported ({type(error).__name__}: {error})"
        ) from error
