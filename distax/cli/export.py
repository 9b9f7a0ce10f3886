"""`distax export`: writes a method as a file that runs without distax."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from distax.cli.options import (
    Checkpoint,
    Method,
    ModelModule,
    Threshold,
    default,
    make_unmixer,
    register_models,
)
from distax.runtime.terminal import say


@dataclass(frozen=True)
class Export:
    """Write a method, from images or sequences to targets, as StableHLO that runs without distax.

    Attributes:
      target: File to write, such as fast.distax.
      method: Method to write: fast (a network), refine (least squares) or grid (the model of
        --checkpoint). The method posterior cannot be exported. With --sensor, fast serves every
        camera whose windows are not wider than this sensor's.
      sensor: TOML file of the sensor that takes the images. For fast, refine and classical models.
      grid: Write the output of a grid model instead of the targets that are read off it.
      frames: Number of frames of every sequence, for a --checkpoint of a model of sequences.
      platforms: Platforms that the file runs on.
    """

    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    method: Annotated[
        Method | None, default("the method of --checkpoint, or fast without a checkpoint")
    ] = None
    checkpoint: Checkpoint = None
    module: ModelModule = None
    sensor: Annotated[Path | None, default("CSIST-100K's sensor")] = None
    threshold: Threshold = None
    grid: bool = False
    frames: Annotated[int | None, default("20, for models of sequences")] = None
    platforms: Annotated[
        tuple[Literal["cpu", "cuda", "tpu"], ...] | None, default("all that can run it")
    ] = None

    def run(self) -> None:
        """Writes the file and prints its contents, platforms and size."""
        from distax.cli.sequence_models import load_sequence_unmixer
        from distax.export import export
        from distax.runtime.files import check_outputs

        register_models(self.module)
        check_outputs({"TARGET": self.target}, (self.sensor, self.checkpoint, self.module))
        unsuitable = {"--method": self.method, "--sensor": self.sensor}
        of_sequences = load_sequence_unmixer(self.checkpoint, self.threshold, unsuitable)
        about = export(
            of_sequences or make_unmixer(self.method, self.checkpoint, self.threshold, self.sensor),
            self.target,
            platforms=self.platforms,
            grid=self.grid,
            frames=self.frames,
        )
        say(
            f"{self.target}: {about['model'] or about['method']}, {_inputs(about)} to "
            f"{', '.join(about['outputs'])}; for {', '.join(about['platforms'])}; "
            f"{len(self.target.read_bytes()) / 1e6:.1f} MB"
        )


def _inputs(about: dict[str, Any]) -> str:
    """Says what an exported method takes, and the frames of a sequence that it answers."""
    height, width = about["sensor"]["height"], about["sensor"]["width"]
    size = f"images of {height}×{width} px"
    if not about["sequence"]:
        return size
    frames, answered = about["sequence"]["frames"], about["sequence"]["answered"]
    return f"sequences of {frames} {size}, of which {answered[0]} to {answered[-1]} are answered,"
