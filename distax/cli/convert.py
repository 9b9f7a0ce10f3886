"""`distax convert`: weights from one kind of file to another."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from distax.runtime.errors import DistaxError

if TYPE_CHECKING:
    from distax.models import Model
    from distax.training.config import TrainConfig


@dataclass(frozen=True)
class Convert:
    """Turn the original toolkit's checkpoints, runs and safetensors files into one another."""

    source: Annotated[str, tyro.conf.Positional]
    """What to read: a .pth checkpoint of the original toolkit (or an .npz file of its arrays), a
    .safetensors file of distax, or the folder of a run."""
    target: Annotated[str, tyro.conf.Positional]
    """What to write: a .safetensors file, or a folder for a checkpoint, from which `evaluate`,
    `unmix` and `train --resume` go on."""
    model: str | None = None
    """For the original's checkpoints: which model, as registered in distax."""
    factor: int | None = None
    """For the original's checkpoints: grid nodes per pixel along each axis; 3 without it."""
    phi: Path | None = None
    """For the original's checkpoints: the sampling matrix they were trained with (NPY or MATLAB);
    without it the sensor's."""
    q_init: Path | None = None
    """For the original's checkpoints: the initial estimator they were trained with (NPY or
    MATLAB); without it the one over simulated scenes."""
    options: dict[str, int | float | str | bool] = field(default_factory=dict)
    """For the original's checkpoints: what the arrays do not tell of the model, such as alpha of
    DISTA-Net and stages of FISTA-Net: --options stages 7."""
    half: bool = False
    """Store half precision in a .safetensors file."""

    def run(self) -> None:
        """Read, check, write; say what was written."""
        from distax.weights import write

        to_file = Path(self.target).suffix == ".safetensors"
        if not to_file:
            self._check_folder()
        model, config = self._read()
        if to_file:
            write(model, config, Path(self.target), self.half)
        else:
            _save(model, config, self.target)
        print(f"{self.target}: {config.model.name}, {_count(model):,} parameters")

    def _check_folder(self) -> None:
        from distax.training.checkpoints import holds_run

        # A number after a dot is a part of a folder's name, such as runs/rate_0.01.
        if Path(self.target).suffix[1:2].isalpha():
            raise DistaxError(
                f"{self.target}: no format of weights that can be written; name a .safetensors "
                "file, or a folder"
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

        suffix = Path(self.source).suffix
        if suffix in (".pth", ".pt", ".npz"):
            return self._original()
        for name in ("model", "factor", "phi", "q_init", "options"):
            if getattr(self, name) not in (None, {}):
                raise DistaxError(
                    f"--{name.replace('_', '-')} is for checkpoints of the original toolkit; "
                    "leave it out"
                )
        return read(Path(self.source)) if suffix == ".safetensors" else load_model(self.source)

    def _original(self) -> "tuple[Model, TrainConfig]":
        from distax.interop import grokcso
        from distax.training.config import ModelConfig, TrainConfig

        if self.model is None:
            raise DistaxError(
                f"{self.source}: say by --model which model it is: {', '.join(grokcso.names())}"
            )
        matrices: dict[str, Any] = {
            name: grokcso.read_matrix(path)
            for name, path in {"phi": self.phi, "q_init": self.q_init}.items()
            if path is not None
        }
        arrays = grokcso.strip_prefix(self.model, grokcso.read_arrays(Path(self.source)))
        given: dict[str, Any] = matrices | self.options
        factor = 3 if self.factor is None else self.factor
        model = grokcso.load(self.model, arrays, factor=factor, **given)
        options = grokcso.sizes(self.model, arrays) | self.options
        return model, TrainConfig(model=ModelConfig(self.model, factor, options))


def _save(model: "Model", config: "TrainConfig", folder: str) -> None:
    """A checkpoint to go on from, of a model that has not been trained here."""
    from distax.training import checkpoints
    from distax.training.state import init_state, make_optimizer

    state = init_state(model, make_optimizer(config.optimizer, config.steps))
    checkpoints.save(folder, "last", state, config, None)


def _count(model: "Model") -> int:
    from distax.models.layers.basic import parameter_count

    return parameter_count(model)
