"""`distax convert`: converts weights from one file format to another."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from distax.cli.options import (
    ModelModule,
    default,
    register_models,
)
from distax.runtime.buckets import as_path
from distax.runtime.errors import DistaxError
from distax.runtime.terminal import say

if TYPE_CHECKING:
    from distax.models import Model
    from distax.training.config import TrainConfig


@dataclass(frozen=True)
class Convert:
    """Convert weights between the original toolkit's checkpoints, runs and safetensors files.

    The options --model, --factor, --phi, --q-init and --options describe a checkpoint of the
    original toolkit, and are only for such checkpoints.

    Attributes:
      source: File or folder to read: a .pth checkpoint of the original toolkit, an .npz file of its
        arrays, a .safetensors file of distax, or the folder of a run.
      target: File or folder to write. A name that ends in .safetensors is a file. Any other name is
        the folder of a new run, which `evaluate`, `unmix` and `train --resume` can read.
      model: Name of the model in distax. Needed for a checkpoint of the original toolkit.
      factor: Grid nodes per pixel along each axis.
      phi: File with the sampling matrix of the training (NPY or MATLAB).
      q_init: File with the initial estimator of the training (NPY or MATLAB).
      options: Options of the model that its arrays do not show, such as alpha of DISTA-Net and
        stages of FISTA-Net. Example: --options stages 7.
      half: Store half precision. For a .safetensors file only.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    model: str | None = None
    module: ModelModule = None
    factor: Annotated[int | None, default("3")] = None
    phi: Annotated[Path | None, default("computed from the sensor")] = None
    q_init: Annotated[Path | None, default("computed from simulated scenes")] = None
    options: Annotated[dict[str, int | float | str | bool], default("none")] = field(
        default_factory=dict
    )
    half: bool = False

    def run(self) -> None:
        """Reads, checks and writes the weights, and prints what was written."""
        from flax import nnx

        from distax.runtime.checksums import check_finite_arrays
        from distax.runtime.files import check_outputs
        from distax.weights import write

        register_models(self.module)
        to_file = as_path(self.target).suffix == ".safetensors"
        if to_file:
            inputs = self.source, self.phi, self.q_init, self.module
            check_outputs({"TARGET": as_path(self.target)}, inputs)
        else:
            self._check_target_folder()
        model, config = self._read()
        check_finite_arrays(str(self.source), nnx.state(model))
        if to_file:
            write(model, config, as_path(self.target), self.half)
        else:
            _save(model, config, self.target)
        say(f"{self.target}: {config.model.name}, {_count(model):,} parameters")

    def _check_target_folder(self) -> None:
        from distax.training.checkpoints import holds_run

        # Digits after a dot belong to the name of a folder, as in runs/rate_0.01.
        if as_path(self.target).suffix[1:2].isalpha():
            raise DistaxError(
                f"{self.target}: no format of weights that can be written; name a .safetensors "
                "file or a folder"
            )
        if self.half:
            raise DistaxError(
                f"--half is for a .safetensors file, and {self.target} is a folder; leave it out"
            )
        if holds_run(self.target):
            raise DistaxError(f"{self.target}: already holds a run; choose another folder")

    def _read(self) -> "tuple[Model, TrainConfig]":
        from distax.training.checkpoints import load_model
        from distax.weights import read

        suffix = as_path(self.source).suffix
        if suffix in (".pth", ".pt", ".npz"):
            return self._read_original()
        for name in ("model", "factor", "phi", "q_init", "options"):
            if getattr(self, name) not in (None, {}):
                raise DistaxError(
                    f"--{name.replace('_', '-')} is for checkpoints of the original toolkit; "
                    "leave it out"
                )
        return read(as_path(self.source)) if suffix == ".safetensors" else load_model(self.source)

    def _read_original(self) -> "tuple[Model, TrainConfig]":
        from distax.interop import grokcso
        from distax.training.config import ModelConfig, TrainConfig

        if self.model is None:
            raise DistaxError(
                f"{self.source}: name the model by --model: {', '.join(grokcso.names())}"
            )
        for name, place in {"weights": "SOURCE", "phi": "--phi", "q_init": "--q-init"}.items():
            if name in self.options:
                raise DistaxError(f"leave {name} out of --options: its file is named by {place}")
        matrices: dict[str, Any] = {
            name: grokcso.read_matrix(path)
            for name, path in {"phi": self.phi, "q_init": self.q_init}.items()
            if path is not None
        }
        arrays = grokcso.strip_prefix(self.model, grokcso.read_arrays(as_path(self.source)))
        factor = 3 if self.factor is None else self.factor
        options = grokcso.sizes(self.model, arrays) | self.options
        config = TrainConfig(model=ModelConfig(self.model, factor, options))
        given: dict[str, Any] = matrices | self.options
        return grokcso.load(self.model, arrays, factor=factor, **given), config


def _save(model: "Model", config: "TrainConfig", folder: str) -> None:
    """Writes the model as a checkpoint of step 0, with a fresh optimiser state."""
    from distax.training import saving
    from distax.training.optimizer import make_optimizer
    from distax.training.state import init_state

    state = init_state(model, make_optimizer(config.optimizer, config.steps))
    saving.save(folder, "last", state, config, None)


def _count(model: "Model") -> int:
    from distax.models.layers.basic import parameter_count

    return parameter_count(model)
