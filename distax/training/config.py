"""What a training run is made of, as typed, frozen dataclasses read from TOML and JSON."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from distax.imaging.grid import THRESHOLD
from distax.imaging.scenes import ScenePrior, check_host
from distax.imaging.sensor import Sensor
from distax.runtime import settings
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.settings import STRICT, from_plain


@dataclass(frozen=True)
class ModelConfig:
    """Which model.

    Attributes:
      name: a registered model.
      factor: grid nodes per pixel along each axis, odd; None for what the model takes by itself,
        and for models without a grid.
      options: further arguments of the model's constructor, such as stages and channels. On the
        command line: --model.options stages 2, or --model.options.stages 2 where a file sets it.
      module: a Python file that registers the model, for one that distax does not come with;
        `distax train` keeps its whole path in the run.
    """

    name: str = "dista"
    factor: int | None = None
    options: dict[str, int | float | str | bool | tuple[int, ...]] = field(default_factory=dict)
    module: str | None = None


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam and its learning rate.

    Attributes:
      learning_rate: the largest learning rate.
      warmup_steps: steps over which it rises from zero.
      decay: what follows: "constant", or "cosine" down to a hundredth at the last step.
      clip_norm: the largest norm of all gradients together, to which larger ones are scaled down;
        None for no limit. One gradient that is a million times too large makes Adam's next
        thousands of steps too small.
    """

    learning_rate: float = 1e-4
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    clip_norm: float | None = None


@dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
      dataset: a CSIST-100K built on disk, such as "simulated" or "released"; without one, scenes
        are simulated on the device without end.
      data_dir: folder it was built in.
      feed: where a dataset's batches come from: "memory" holds it on the device, "stream" reads
        it from disk through Grain. Both give the same batches.
    """

    dataset: str | None = None
    data_dir: str = "data"
    feed: Literal["memory", "stream"] = "memory"


@dataclass(frozen=True)
class TrainConfig:
    """A training run: the same configuration gives the same parameters.

    Attributes:
      steps: optimiser steps in all.
      batch_size: images a step.
      seed: seed of the initial parameters, the scenes and their order.
      steps_per_dispatch: steps the devices do before they hear from the host again; None for one
        on CPUs, where XLA's loops are slow, and 50 elsewhere.
      shard_state: split parameters and the optimiser's state over the devices, which saves
        memory where a model is large, instead of copying them to each.
      threshold: counts a node of a grid model needs to be reported, in evaluations and, unless
        something else is said, by the trained model.
      log_every: steps between two lines of the log.
      eval_every: steps between two evaluations on held-out images, each with a checkpoint.
      eval_images: how many held-out images.

    Raises:
      DistaxError: a number that is not positive, a prior whose border leaves no host pixel, or
        another sensor than the dataset's.
    """

    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    sensor: Sensor = Sensor()
    prior: ScenePrior = ScenePrior()
    steps: int = 312_500
    batch_size: int = 64
    seed: int = 0
    steps_per_dispatch: int | None = None
    shard_state: bool = False
    threshold: float = THRESHOLD
    log_every: int = 100
    eval_every: int = 1250
    eval_images: int = 2000

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "threshold", "log_every", "eval_every", "eval_images"):
            check_positive(**{name: getattr(self, name)})
        if self.steps_per_dispatch is not None:
            check_positive(steps_per_dispatch=self.steps_per_dispatch)
        check_positive(learning_rate=self.optimizer.learning_rate)
        if self.optimizer.clip_norm is not None:
            check_positive(clip_norm=self.optimizer.clip_norm)
        check_host(self.prior, self.sensor.shape)
        if self.data.dataset is not None and self.sensor != Sensor():
            raise DistaxError(
                f"dataset {self.data.dataset} was taken by CSIST-100K's sensor; leave the sensor "
                "as it is, or leave the dataset out and train on simulated scenes"
            )

    def evaluates_at(self, step: int) -> bool:
        """Whether there is an evaluation after so many steps."""
        return step == self.steps or step % self.eval_every == 0

    def logs_at(self, step: int) -> bool:
        """Whether there is a line in the log after so many steps."""
        return step % self.log_every == 0 or self.evaluates_at(step)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and dictionaries; `from_dict` reverses it."""
        return asdict(self)


def from_dict(values: dict[str, Any], where: str) -> TrainConfig:
    """A configuration from plain values; what is absent keeps its default.

    Args:
      values: nested dictionaries, as `TrainConfig.to_dict` or a TOML file gives them.
      where: the file they come from, for error messages.

    Raises:
      DistaxError: an unknown key, a value of another type or out of range.
    """
    return from_plain(TrainConfig, values, where)


def read_toml(path: Path) -> TrainConfig:
    """The configuration in a TOML file.

    Raises:
      DistaxError: no such file, not TOML, or as `from_dict`.
    """
    return from_dict(settings.read_toml(path), str(path))
