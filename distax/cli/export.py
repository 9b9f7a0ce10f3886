"""`distax export`: a method as a file that computes without distax."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from distax.cli.choosing import Method, chosen_unmixer


@dataclass(frozen=True)
class Export:
    """Write a method, images to targets, as StableHLO that JAX runs without its code."""

    target: Annotated[Path, tyro.conf.Positional]
    """The file to write, such as fast.distax."""
    method: Method | None = None
    """What to write: fast, the network that comes with distax, without anything else said; refine,
    the best least-squares fit; grid, the model of --checkpoint. Posterior cannot be written."""
    checkpoint: str | None = None
    """What to write: folder of a run of `train` or `quickstart`, a .safetensors file, weights that
    come with distax, or a solver such as fista."""
    sensor: Path | None = None
    """TOML file with the sensor whose images they are, for refine; CSIST-100K's without one."""
    threshold: float | None = None
    """Counts a grid node needs to be reported; those it was trained with (50, unless said) without
    this."""
    grid: bool = False
    """Write a grid model's output rather than the targets read off it."""
    platforms: tuple[Literal["cpu", "cuda", "tpu"], ...] | None = None
    """What it is to run on; everything that can compute it without this."""

    def run(self) -> None:
        """Lower, write; say what was written and how large it is."""
        from distax.export import export

        unmixer = chosen_unmixer(self.method, self.checkpoint, self.threshold, self.sensor)
        about = export(unmixer, self.target, platforms=self.platforms, grid=self.grid)
        height, width = unmixer.sensor.shape
        print(
            f"{self.target}: {about['model'] or about['method']}, images of {height}×{width} px to "
            f"{', '.join(about['outputs'])}; for {', '.join(about['platforms'])}; "
            f"{self.target.stat().st_size / 1e6:.1f} MB"
        )
