"""Configuration of a training run: typed, frozen dataclasses read from TOML and JSON."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from distax.imaging.grid import THRESHOLD
from distax.imaging.motion import SEQCSIST, MotionPrior
from distax.imaging.scenes import ScenePrior, check_host
from distax.imaging.sensor import Sensor
from distax.models.layers.precision import Precision
from distax.runtime import settings
from distax.runtime.errors import DistaxError, check_positive, check_seed
from distax.runtime.settings import STRICT, from_plain

_NOT_OPTIONS = {
    "name": "model.name",
    "sensor": "the table sensor",
    "rngs": "the setting seed",
    "precision": "the setting precision",
}
"""Arguments of `models.create` that other settings determine."""


@dataclass(frozen=True)
class ModelConfig:
    """The model to train.

    Attributes:
      name: name of a registered model.
      factor: grid nodes per pixel along each axis, an odd number; None for the model's own default
        and for models without a grid.
      options: further arguments of the model's constructor, such as stages and channels. On the
        command line: --model.options stages 2, or --model.options.stages 2 if a file sets it.
      module: a Python file that registers the model, for models that are not part of distax;
        `distax train` stores its absolute path in the run.

    Raises:
      DistaxError: an option is an argument that other settings determine.
    """

    name: str = "dista"
    factor: int | None = None
    options: dict[str, int | float | bool | str | tuple[int, ...]] = field(default_factory=dict)
    module: str | None = None

    def __post_init__(self) -> None:
        taken = _NOT_OPTIONS if self.factor is None else {**_NOT_OPTIONS, "factor": "model.factor"}
        for key in self.options:
            if key in taken:
                raise DistaxError(f"leave {key} out of the model's options: {taken[key]} sets it")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam or AdamW, its learning-rate schedule, clipping, accumulation and averaging.

    Attributes:
      learning_rate: peak learning rate.
      warmup_steps: steps over which the learning rate rises linearly from zero to its peak.
      decay: schedule after the warm-up: "constant"; "cosine" down to a hundredth of the peak at the
        last step; or "wsd", constant and then down in a straight line in the last fifth.
      clip_norm: largest global norm of the gradients; larger gradients are scaled down to it. None
        for no limit. Without a limit, one gradient that is a million times too large makes Adam's
        next thousands of steps too small.
      weight_decay: decay of kernels per unit of the learning rate (AdamW); 0 for Adam.
      accumulate: steps whose gradients are averaged before the parameters change.
      average: decay per step of an exponential moving average of the parameters, such as 0.999,
        which is then evaluated and shipped; None for the parameters themselves.
    """

    learning_rate: float = 1e-4
    warmup_steps: int = 0
    decay: Literal["constant", "cosine", "wsd"] = "constant"
    clip_norm: float | None = None
    weight_decay: float = 0.0
    accumulate: int = 1
    average: float | None = None

    def __post_init__(self) -> None:
        check_positive(learning_rate=self.learning_rate, accumulate=self.accumulate)
        if self.clip_norm is not None:
            check_positive(clip_norm=self.clip_norm)
        if not 0 <= self.weight_decay < math.inf:
            raise DistaxError(f"weight_decay must be a number ≥ 0, got {self.weight_decay}")
        if self.average is not None and not 0 < self.average < 1:
            raise DistaxError(f"average must lie between 0 and 1, got {self.average}")


@dataclass(frozen=True)
class DataConfig:
    """The training data.

    Attributes:
      dataset: name of a dataset built on disk, such as "simulated" or "released" for CSIST-100K and
        "seqcsist/simulated" for SeqCSIST; None to simulate new scenes on the device at every step.
        A model of single images gets the frames of sequences one by one.
      data_dir: folder that the dataset was built in.
      feed: source of a dataset's batches: "memory" holds the dataset on every device, "stream"
        reads it from disk through Grain. Both give the same batches.
      moving: train a model of single images on random frames of simulated sequences.
    """

    dataset: str | None = None
    data_dir: str = "data"
    feed: Literal["memory", "stream"] = "memory"
    moving: bool = False


@dataclass(frozen=True)
class MotionConfig:
    """The motion of simulated sequences; see `distax.imaging.motion.MotionPrior`.

    Attributes:
      frames: number of frames of a sequence.
      speed: largest speed of the group in the first frame, in pixels per frame.
      drift: largest speed of a target relative to the group, in pixels per frame.
      acceleration: largest acceleration of the group in pixels per frame².
      margin: smallest distance of a target from the image's edge, in pixels.
    """

    frames: int = SEQCSIST.frames
    speed: float = SEQCSIST.speed
    drift: float = SEQCSIST.drift
    acceleration: float = SEQCSIST.acceleration
    margin: float = SEQCSIST.margin


TrackerName = Literal["jsonl", "tensorboard", "wandb"]
"""Names of the trackers that distax has; see `distax.training.trackers`."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run's configuration, which determines the trained parameters.

    Attributes:
      model: the model to train.
      optimizer: the optimiser.
      data: the training data.
      sensor: the sensor that takes the images.
      prior: the prior of simulated scenes; in sequences, that of their first frames.
      motion: the motion in simulated sequences.
      precision: precision of the model's maps: "bfloat16" takes half the memory and is faster on
        accelerators. Parameters, physics, grids and the objective are always float32.
      steps: total number of optimiser steps.
      batch_size: images, or sequences, per step, of all devices together.
      seed: seed of the initial parameters, the scenes and their order.
      steps_per_dispatch: steps that the devices take in one call from the host. Default: 1 on CPUs,
        where XLA's loops are slow, and 50 on other devices.
      shard_state: shard parameters and the optimiser's state over the devices instead of
        replicating them, which saves memory if a model is large.
      threshold: counts that a node of a grid model needs to be reported. It is used in evaluations,
        and is the trained model's default.
      log_every: steps between two lines of the log.
      eval_every: steps between two evaluations on held-out images, each with a checkpoint.
      eval_images: number of held-out images.
      trackers: places that keep the figures of the log and the evaluations: "jsonl" for
        metrics.jsonl, "tensorboard" for event files, "wandb" for Weights & Biases. A run may change
        them when it is resumed.

    Raises:
      DistaxError: a number is not positive, the prior's border leaves no host pixel, or the sensor
        is not the dataset's.
    """

    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    sensor: Sensor = Sensor()
    prior: ScenePrior = ScenePrior()
    motion: MotionConfig = MotionConfig()
    precision: Precision = "float32"
    steps: int = 312_500
    batch_size: int = 64
    seed: int = 0
    steps_per_dispatch: int | None = None
    shard_state: bool = False
    threshold: float = THRESHOLD
    log_every: int = 100
    eval_every: int = 1250
    eval_images: int = 2000
    trackers: tuple[TrackerName, ...] = ("jsonl", "tensorboard")

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("steps", "batch_size", "threshold", "log_every", "eval_every", "eval_images"):
            check_positive(**{name: getattr(self, name)})
        if self.steps_per_dispatch is not None:
            check_positive(steps_per_dispatch=self.steps_per_dispatch)
        check_host(self.prior, self.sensor.shape)
        if self.data.dataset is not None and self.sensor != Sensor():
            raise DistaxError(
                f"dataset {self.data.dataset} was taken by CSIST-100K's sensor; leave the sensor "
                "as it is, or leave the dataset out and train on simulated scenes"
            )

    @property
    def motion_prior(self) -> MotionPrior:
        """The prior of simulated sequences.

        Raises:
          DistaxError: the motion does not suit the scenes' prior.
        """
        return MotionPrior(placement=self.prior, **asdict(self.motion))

    def evaluates_at(self, step: int) -> bool:
        """Returns True if there is an evaluation after this step, counted from 1."""
        return step == self.steps or step % self.eval_every == 0

    def logs_at(self, step: int) -> bool:
        """Returns True if there is a line in the log after this step, counted from 1."""
        return step % self.log_every == 0 or self.evaluates_at(step)

    def to_dict(self) -> dict[str, Any]:
        """Converts to plain numbers, strings and dictionaries; `from_dict` reverses it."""
        return asdict(self)


def from_dict(values: dict[str, Any], where: str) -> TrainConfig:
    """Makes a configuration from plain values; absent keys keep their defaults.

    Args:
      values: nested dictionaries, as `TrainConfig.to_dict` or a TOML file gives them.
      where: the file they come from, for error messages.

    Raises:
      DistaxError: a key is unknown, or a value has another type or is out of range.
    """
    return from_plain(TrainConfig, values, where)


def read_toml(path: Path) -> TrainConfig:
    """Reads the configuration in a TOML file.

    Raises:
      DistaxError: the file cannot be read or is not TOML, or as `from_dict`.
    """
    return from_dict(settings.read_toml(path), str(path))
