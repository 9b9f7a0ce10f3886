"""`distax train`: a run from a configuration, or the rest of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from distax.config import TrainConfig, read_toml


@dataclass(frozen=True)
class Train:
    """Train a model.

    The configuration is a TOML file's (see experiments/), or that of the run to resume; the
    options below change single values of it.
    """

    run_dir: Path = Path("runs/train")
    """Folder for the checkpoints and the log."""
    config: Path | None = None
    """TOML file with the configuration; what it leaves out keeps its default."""
    resume: Path | None = None
    """Folder of a run to go on with from its last checkpoint."""
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
            return cls(settings=read_about(Path(resume), "last")[0])
        return cls()

    def run(self) -> None:
        """Train and print the best evaluation."""
        from distax.cli.report import print_evaluation
        from distax.training.loop import train

        best = train(self.settings, self.resume or self.run_dir, resume=self.resume is not None)
        print_evaluation(best)


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == option:
            return following or None
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None
