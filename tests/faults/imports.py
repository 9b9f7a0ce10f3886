"""Imports what the commands of distax import, for the process that theirs are forked from."""

import warnings
from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages

import distax

# JAX warns of forks. None of its threads runs here, as it starts its devices in the commands only.
warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
NAMES = ["array_record.python.array_record_module", "matplotlib.pyplot", "orbax.checkpoint"]
NAMES += [module.name for module in walk_packages(distax.__path__, "distax.")]
for name in NAMES:
    with suppress(ImportError):  # of a package that is not installed
        import_module(name)
