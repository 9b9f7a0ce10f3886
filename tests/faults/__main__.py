"""Kills commands, or fills their disk, and prints a table of what became of their files.

    python -m tests.faults kill --trials 100
    sudo python -m tests.faults fill

A hundred trials of all works take some hours. Filling mounts small disks in memory, for which Linux
asks for root. The exit status is 1 if anything was lost, half-written or different afterwards.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import tyro

from tests.faults.harness import Outcome, fill, kill, make_inputs
from tests.faults.works import WORKS

SHARES = [0.0, 0.2, 0.5, 0.8, 0.95]
"""Shares of the room that a work needs."""


@dataclass(frozen=True)
class Faults:
    """Disturb commands and run them again.

    Attributes:
      disturbance: what happens to the commands.
      trials: kills of each command. `fill` fills five disks for each, whatever it is.
      only: names of works. Default: all.
      seed: seed of the moments.
    """

    disturbance: tyro.conf.Positional[Literal["kill", "fill"]]
    trials: int = 100
    only: tuple[str, ...] = ()
    seed: int = 0


def main(options: Faults) -> None:
    """Prints a row for each work, and the faults on standard error."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    faults = 0
    print("| command | trials | ended before | left files | left nothing whole | faults |")
    print("|---|--:|--:|--:|--:|--:|")
    with TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs")
        inputs.mkdir()
        make_inputs(inputs)
        for number, name in enumerate(options.only or WORKS):
            outcome = _disturb(options, name, inputs, Path(folder, f"outputs {number}"))
            print(
                f"| {name} | {outcome.trials} | {outcome.ended} | {outcome.begun} | "
                f"{outcome.absent} | {len(outcome.faults)} |",
                flush=True,
            )
            for fault in outcome.faults:
                print(f"{name}, {' '.join(fault.split())}", file=sys.stderr, flush=True)
            faults += len(outcome.faults)
    if faults:
        sys.exit(1)


def _disturb(options: Faults, name: str, inputs: Path, output: Path) -> Outcome:
    if options.disturbance == "fill":
        return fill(WORKS[name], inputs, output, SHARES)
    rng = np.random.default_rng(options.seed)
    return kill(WORKS[name], inputs, output, options.trials, rng)


if __name__ == "__main__":
    main(tyro.cli(Faults))
