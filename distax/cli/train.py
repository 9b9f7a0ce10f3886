"""`distax train`: starts a training run, or resumes one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from distax.cli.options import default
from distax.runtime.buckets import BucketPath, as_path
from distax.runtime.errors import DistaxError, advice_when_stopped
from distax.runtime.processes import Cluster, sharing
from distax.runtime.terminal import say
from distax.training.config import TrainConfig, read_toml

if TYPE_CHECKING:
    from jaxtyping import Array

    from distax.training.steps import CompiledSteps


@dataclass(frozen=True)
class Train:
    """Train a model.

    The configuration comes from a TOML file (see experiments/) or from the run to resume. Options
    change single values of it.

    Attributes:
      run_dir: Folder for the checkpoints and the log, also in a bucket, as gs://bucket/folder.
      config: TOML file with the configuration. Values that it leaves out keep their defaults.
      resume: Folder of a run to resume from its last checkpoint.
      auto_resume: Resume the run in --run-dir if there is one, and start it otherwise. For jobs
        that are restarted.
      start: Weights to start from instead of random ones: names of weights that come with distax,
        safetensors files or folders of runs. Each parameter is taken from the last of them that has
        one of the same name and shape. A model with a head also takes those of the grid model.
      profile: Steps to trace, such as 10:20, for XProf or TensorBoard. The trace is in the run's
        folder profile.
      dump_hlo: Folder for the text of all compiled programs. They are compiled anew.
      programs: File of compile --save with the training steps for these devices and this
        configuration, so that they need not be compiled.
      distributed: Train together with other processes, each started by the same command.
    """

    run_dir: str = "runs/train"
    config: Annotated[Path | None, default("the defaults below")] = None
    resume: Annotated[str | None, default("start a new run")] = None
    auto_resume: bool = False
    start: Annotated[tuple[str, ...], default("random weights")] = ()
    profile: Annotated[str | None, default("no trace")] = None
    dump_hlo: Annotated[Path | None, default("not written")] = None
    programs: Annotated[Path | None, default("compile them")] = None
    distributed: bool = False
    cluster: Cluster = Cluster()
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig()

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> "Train":
        """Returns the options with the configuration of the file or run that the arguments name.

        Args:
          arguments: words of the command line.

        Raises:
          DistaxError: the file or the run cannot be used.
        """
        from distax.training.checkpoints import read_about
        from distax.training.foreign import check_registered

        if config := _find_value("--config", arguments):
            return cls(settings=read_toml(as_path(config)))
        if resume := _find_value("--resume", arguments):
            settings = read_about(resume, "last")[0]
            if not _find_value("--model.module", arguments):
                check_registered(settings, resume)
            # The file of a model would be run, so it is not taken from a folder.
            return cls(settings=replace(settings, model=replace(settings.model, module=None)))
        return cls()

    def run(self) -> None:
        """Trains the model and prints the best evaluation.

        Raises:
          DistaxError: --cluster is given without --distributed, or the configuration or the run
            cannot be used.
        """
        work = sharing(self.distributed, self.cluster)
        if self.dump_hlo:
            _dump_programs(self.dump_hlo)
        with work:
            self._train()

    def _train(self) -> None:
        import jax

        from distax.cli.console import print_evaluation
        from distax.training.checkpoints import holds_run
        from distax.training.loop import train
        from distax.training.profiling import parse_steps

        run = self.resume or self.run_dir
        resume = self.resume is not None or (self.auto_resume and holds_run(run))
        settings = _with_absolute_module_path(self.settings)
        if self.start and self.resume:
            raise DistaxError("--start has no effect on a run that is resumed; leave it out")
        start = {} if resume else _parameters_to_start(self.start, settings)
        traced = parse_steps(self.profile) if self.profile else range(0)
        compiled = _load_steps(self.programs, settings) if self.programs else None
        module = f" --model.module {settings.model.module}" if settings.model.module else ""
        with advice_when_stopped(f"distax train --resume {run}{module} continues"):
            best = train(
                settings, run, resume=resume, profile=traced, compiled=compiled, start=start
            )
        if jax.process_index() == 0:
            print_evaluation(best)


def _parameters_to_start(sources: Sequence[str], settings: TrainConfig) -> "dict[str, Array]":
    """Loads the parameters to start from, and prints how many come from each source."""
    import jax

    if not sources:
        return {}
    from flax import nnx

    from distax import weights
    from distax.models.base import Constant
    from distax.models.registry import import_module_file
    from distax.training.building import abstract_model

    if settings.model.module:
        import_module_file(settings.model.module)  # the sources may be models of this file

    trained = [(source, weights.find(source)[0]) for source in sources]
    model = abstract_model(settings)
    start, counts = weights.matching_parameters(model, trained)
    if jax.process_index() == 0:
        parts = ", ".join(f"{number} from {name}" for name, number in counts.items())
        places = len(jax.tree.leaves(nnx.state(model, nnx.Not(Constant))))
        say(f"start: of {places} arrays, {parts}")
    return start


def _load_steps(path: Path, settings: TrainConfig) -> "dict[int, CompiledSteps]":
    from distax.compilation import load_programs, saved_steps
    from distax.runtime.sharding import data_mesh

    return saved_steps(load_programs(path, data_mesh()), settings)


def _dump_programs(folder: Path) -> None:
    """Makes XLA write the programs that it compiles. Call it before JAX starts its devices."""
    import jax

    if isinstance(folder, BucketPath):
        raise DistaxError(f"--dump-hlo: {folder} is in a bucket; XLA writes to disk only")

    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_dump_to={folder.resolve()} --xla_dump_hlo_as_text"
    jax.config.update("jax_enable_compilation_cache", False)


def _with_absolute_module_path(settings: TrainConfig) -> TrainConfig:
    """Returns the configuration with an absolute path to the file that registers the model.

    The run saves the path, and must find the file when it is used from another folder.
    """
    model = settings.model
    if model.module is None:
        return settings
    return replace(settings, model=replace(model, module=str(Path(model.module).resolve())))


def _find_value(option: str, arguments: Sequence[str]) -> str | None:
    """Returns the value of an option on the command line; None if it is not given.

    It is found before the command line is parsed: the parser needs the defaults of all options, and
    these come from the file or run that the option names.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument == option:
            return following or None
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None
