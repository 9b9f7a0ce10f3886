"""Optional packages with the extras that install them, and an error that names the extra."""

from importlib.util import find_spec
from typing import NamedTuple

from distax.runtime.errors import DistaxError


class Optional(NamedTuple):
    """An optional package: its name in the package index, and the extra that installs it."""

    distribution: str
    extra: str


OPTIONAL = {
    "PIL": Optional("pillow", "files"),
    "array_record": Optional("array_record", "train"),
    "astropy": Optional("astropy", "frames"),
    "defusedxml": Optional("defusedxml", "files"),
    "flatbuffers": Optional("flatbuffers", "export"),
    "gcsfs": Optional("gcsfs", "gcs"),
    "grain": Optional("grain", "train"),
    "imagecodecs": Optional("imagecodecs", "files"),
    "jinja2": Optional("jinja2", "viz"),
    "libtpu": Optional("libtpu", "tpu-compile"),
    "matplotlib": Optional("matplotlib", "viz"),
    "photutils": Optional("photutils", "frames"),
    "pyarrow": Optional("pyarrow", "parquet"),
    "tensorboardX": Optional("tensorboardX", "train"),
    "tifffile": Optional("tifffile", "files"),
    "tomlkit": Optional("tomlkit", "files"),
    "torch": Optional("torch", "torch"),
    "wandb": Optional("wandb", "wandb"),
}
"""Optional packages by the names of their imports, as pyproject.toml declares them."""


def require(package: str, purpose: str, otherwise: str = "") -> None:
    """Checks that an optional package is installed, without importing it.

    Call it directly before the import, at the place of use, or earlier to fail before long work.

    Args:
      package: name of its import, one of `OPTIONAL`.
      purpose: what needs it, in the plural, such as "figures".
      otherwise: what to do instead of installing it, for the error message. Default: nothing.

    Raises:
      DistaxError: the package is not installed.
    """
    distribution, extra = OPTIONAL[package]
    if find_spec(package) is None:
        alternative = f", or {otherwise}" if otherwise else ""
        raise DistaxError(
            f"{purpose} need {distribution}, which is not installed: "
            f"run pip install 'distax[{extra}]'{alternative}"
        )
