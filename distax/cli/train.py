"""`distax train`: a run from a configuration, or the rest of one."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from distax.runtime.errors import DistaxError
from distax.runtime.processes import Cluster, member
from distax.training.config import TrainConfig, read_toml


@dataclass(frozen=True)
class Train:
    """Train a model.

    The configuration is a TOML file's (see experiments/), or that of the run to resume; the
    options below change single values of it.
    """

    run_dir: str = "runs/train"
    """Folder for the checkpoints and the log, or gs://bucket/folder for checkpoints alone."""
    config: Path | None = None
    """TOML file with the configuration; what it leaves out keeps its default."""
    resume: str | None = None
    """Folder of a run to go on with from its last checkpoint."""
    auto_resume: bool = False
    """Go on with the run in run-dir if there is one, else start it: for jobs that are restarted."""
    distributed: bool = False
    """Be one of several processes that train together, each started with the same command."""
    cluster: Cluster = Cluster()
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig()

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> "Train":
        """The option values to start from: those of the file or run that the arguments name.

        Raises:
          DistaxError: that file or run cannot be used.
        """
        from distax.training.checkpoints import read_about

        if config := _value_of("--config", arguments):
            return cls(settings=read_toml(Path(config)))
        if resume := _value_of("--resume", arguments):
            return cls(settings=read_about(resume, "last")[0])
        return cls()

    def run(self) -> None:
        """Train and print the best evaluation.

        Raises:
          DistaxError: a cluster is described to a run that is not distributed.
        """
        if self.cluster != Cluster() and not self.distributed:
            raise DistaxError("the options of --cluster need --distributed")
        with member(self.cluster) if self.distributed else nullcontext():
            self._train()

    def _train(self) -> None:
        import jax

        from distax.cli.console import print_evaluation
        from distax.training.checkpoints import holds_run
        from distax.training.loop import train

        run = self.resume or self.run_dir
        go_on = self.resume is not None or (self.auto_resume and holds_run(run))
        # What --resume names is as the run has it.
        settings = self.settings if self.resume else _found_from_anywhere(self.settings)
        best = train(settings, run, resume=go_on)
        if jax.process_index() == 0:
            print_evaluation(best)


def _found_from_anywhere(settings: TrainConfig) -> TrainConfig:
    """The configuration with the whole path of the file that registers the model, if it has one.

    The run keeps it, and may be used from another folder.
    """
    model = settings.model
    if model.module is None:
        return settings
    return replace(settings, model=replace(model, module=str(Path(model.module).resolve())))


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == option:
            return following or None
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None
