"""`distax convert`: weights from one kind of file to another."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from distax.errors import DistaxError

if TYPE_CHECKING:
    from distax.config import TrainConfig
    from distax.models import Model


@dataclass(frozen=True)
class Convert:
    """Turn the original toolkit's checkpoints, runs and safetensors files into one another."""

    source: Annotated[Path, tyro.conf.Positional]
    """What to read: a .pth checkpoint of the original toolkit (or an .npz file of its arrays), a
    .safetensors file of distax, or the folder of a run."""
    target: Annotated[Path, tyro.conf.Positional]
    """What to write: a .safetensors file, or a folder for a checkpoint, from which `evaluate`,
    `unmix` and `train --resume` go on."""
    model: str | None = None
    """For the original's checkpoints: which model, as registered in distax."""
    factor: int = 3
    """For the original's checkpoints: grid nodes per pixel along each axis."""
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
        from distax.training.checkpoints import holds_run
        from distax.weights import write

        to_file = self.target.suffix == ".safetensors"
        if not to_file and holds_run(self.target):
            raise DistaxError(f"{self.target}: already holds a run; choose another folder")
        model, config = self._read()
        if to_file:
            write(model, config, self.target, self.half)
        else:
            _save(model, config, self.target)
        print(f"{self.target}: {config.model.name}, {_count(model):,} parameters")

    def _read(self) -> "tuple[Model, TrainConfig]":
        from distax.training.checkpoints import load_model
        from distax.weights import read

        if self.source.suffix in (".pth", ".pt", ".npz"):
            return self._original()
        if self.model is not None:
            raise DistaxError("--model is for checkpoints of the original toolkit; leave it out")
        return (
            read(self.source) if self.source.suffix == ".safetensors" else load_model(self.source)
        )

    def _original(self) -> "tuple[Model, TrainConfig]":
        from distax.config import ModelConfig, TrainConfig
        from distax.interop import grokcso

        if self.model is None:
            raise DistaxError(
                f"{self.source}: say by --model which model it is: {', '.join(grokcso.names())}"
            )
        matrices: dict[str, Any] = {
            name: grokcso.read_matrix(path)
            for name, path in {"phi": self.phi, "q_init": self.q_init}.items()
            if path is not None
        }
        arrays = grokcso.unwrapped(self.model, grokcso.read_arrays(self.source))
        given: dict[str, Any] = matrices | self.options
        model = grokcso.load(self.model, arrays, factor=self.factor, **given)
        options = grokcso.sizes(self.model, arrays) | self.options
        return model, TrainConfig(model=ModelConfig(self.model, self.factor, options))


def _save(model: "Model", config: "TrainConfig", folder: Path) -> None:
    """A checkpoint to go on from, of a model that has not been trained here."""
    from distax.training import checkpoints
    from distax.training.state import init_state, make_optimizer

    state = init_state(model, make_optimizer(config.optimizer, config.steps))
    checkpoints.save(folder, "last", state, config, None)


def _count(model: "Model") -> int:
    from distax.models.layers.basic import parameter_count

    return parameter_count(model)
