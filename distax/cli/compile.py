"""`distax compile`: compiles the programs of other commands for absent chips."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from distax.cli.options import default
from distax.runtime.errors import DistaxError, check_positive

if TYPE_CHECKING:
    from distax.compilation import Compiled, Report, Topology
    from distax.compilation.methods import Method
    from distax.training.config import TrainConfig


@dataclass(frozen=True)
class Compile:
    """Compile for absent TPUs, and predict memory and speed.

    The TPU's own compiler, libtpu, runs on this machine. The numbers are those of each chip. The
    speed is an upper bound: no program is faster, and most are slower.

    Attributes:
      topology: Chips, such as v5e:2x2, v5e:16x16, v6e:8x8, v5p:4x4x4, or 2xv5e:16x16 for two
        slices.
      what: Command whose programs are compiled. For train these are the simulation of scenes and
        the steps; for evaluate the function that it maps over the devices.
      config: TOML file with the configuration (see experiments/). Its batch_size is the number of
        images, or sequences, of each chip.
      method: Method of unmix. The method grid is the configuration's model.
      images_per_chip: Images that each chip takes in a step or call. For a model of sequences each
        is a sequence.
      json: JSON file for the numbers.
      dump_hlo: Folder for the text of the compiled programs.
      save: File for the programs. They are machine code, and load on these chips with this version
        of JAX: see --programs of train, and distax.compilation.load_programs.
    """

    topology: str
    what: Literal["train", "evaluate", "unmix"] = "train"
    config: Annotated[Path | None, default("the defaults of train")] = None
    method: Literal["fast", "refine", "grid"] = "fast"
    images_per_chip: Annotated[
        int | None,
        default(
            "batch_size for train, 2048 (or sequences of 512 frames) for evaluate, 1024 for unmix"
        ),
    ] = None
    json: Path | None = None
    dump_hlo: Path | None = None
    save: Path | None = None

    def run(self) -> None:
        """Compiles the programs and prints the predictions.

        Raises:
          DistaxError: the topology is unknown; libtpu is not installed; the configuration cannot be
            used; a program does not fit into a chip's memory.
        """
        from distax.compilation import open_topology, predict, save_programs
        from distax.runtime.files import check_outputs, write_text
        from distax.runtime.plain_json import write_json
        from distax.training.config import TrainConfig, read_toml

        if self.images_per_chip is not None:
            check_positive(images_per_chip=self.images_per_chip)
        check_outputs({"--json": self.json, "--save": self.save}, (self.config,))
        config = read_toml(self.config) if self.config else TrainConfig()
        topology = open_topology(self.topology)
        if self.dump_hlo:
            _make_folder(self.dump_hlo)
        compiled = self._compile(config, topology)
        if self.dump_hlo:
            for one in compiled:
                write_text(self.dump_hlo / f"{one.name}.txt", one.text)
        report = predict(compiled, topology)
        _print(report)
        if self.json:
            write_json(self.json, report.to_dict())
        if report.missing_bytes:
            raise DistaxError(
                f"does not fit: a chip of {topology.chip.name} has "
                f"{topology.chip.memory_bytes / 1e9:.1f} GB, and "
                f"{report.missing_bytes / 1e9:.2f} GB more are needed; give fewer images to each "
                "chip (--images-per-chip)"
            )
        if self.save:
            batch = (self.images_per_chip or config.batch_size) * len(topology.devices)
            save_programs(self.save, compiled, topology.mesh, replace(config, batch_size=batch))

    def _compile(self, config: "TrainConfig", topology: "Topology") -> "list[Compiled]":
        from distax.compilation import compile_evaluation, compile_training, compile_unmixing

        if self.what == "train":
            return compile_training(config, topology, self.images_per_chip)
        if self.what == "evaluate":
            return compile_evaluation(config, topology, self.images_per_chip)
        shape = config.sensor.shape
        return compile_unmixing(self._trace(config), shape, topology, self.images_per_chip)

    def _trace(self, config: "TrainConfig") -> "Method":
        from distax.compilation.methods import trace_method, trace_model
        from distax.training.building import abstract_model
        from distax.unmixer import Unmixer

        if self.method == "grid":
            return trace_model(abstract_model(config))
        unmixer = Unmixer(method=self.method, sensor=config.sensor, prior=config.prior)
        return trace_method(unmixer.estimator, unmixer.sensor, unmixer.prior)


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistaxError(f"{folder}: cannot be made a folder ({error.strerror})") from error


def _print(report: "Report") -> None:
    chips, memory = len(report.topology.devices), report.topology.chip.memory_bytes
    print(f"{report.topology.name}: {chips} {_plural(chips, 'chip')} of {memory / 1e9:.1f} GB")
    for program in report.programs:
        cost = program.cost
        kinds = ", ".join(
            f"{one.count} {kind} of {one.bytes / 1e6:.2f} MB"
            for kind, one in cost.collectives.items()
        )
        print(
            f"\n{program.name}: {program.images:,} images a call, compiled in "
            f"{program.compile_seconds:.0f} s\n"
            f"  memory       {program.memory / 1e6:10.1f} MB: arguments "
            f"{program.argument_bytes / 1e6:.1f}, temporaries {program.temporary_bytes / 1e6:.1f}, "
            f"results {program.output_bytes / 1e6:.1f}, program {program.program_bytes / 1e6:.1f}\n"
            f"  operations   {cost.flops / 1e9:10.1f} GFLOP, "
            f"{1e3 * program.compute_seconds:.3f} ms\n"
            f"  traffic      {cost.bytes_accessed / 1e9:10.3f} GB, of which "
            f"{cost.memory_bytes / 1e9:.3f} GB leave the chip, "
            f"{1e3 * program.memory_seconds:.3f} ms\n"
            f"  collectives  {kinds or 'none'}, {1e3 * program.interconnect_seconds:.3f} ms\n"
            f"  bound by     {program.bound_by}"
        )
        if cost.open_loops:
            loops = _plural(cost.open_loops, "loop")
            print(f"  {cost.open_loops} {loops} of unknown length; one iteration is counted")
    print(
        f"\nat most {report.images_per_second / chips:,.0f} images/s a chip, "
        f"{report.images_per_second:,.0f} in all; efficiency {100 * report.efficiency:.1f}%"
    )
