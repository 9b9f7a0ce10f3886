"""Mutates files of every kind, and prints a table of what became of them.

    python -m tests.fuzz --mutations 10000

Takes an hour or more. The exit status is 1 if any file ended otherwise than read or refused.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from tests.fuzz.harness import fuzz
from tests.fuzz.kinds import KINDS


@dataclass(frozen=True)
class Fuzz:
    """Mutate files of every kind and read them.

    Attributes:
      mutations: number of mutated files of each kind.
      first: number of the first mutation.
      seed: seed of the mutations.
      only: kinds. Default: all.
    """

    mutations: int = 10_000
    first: int = 0
    seed: int = 0
    only: tuple[str, ...] = ()


def main(options: Fuzz) -> None:
    """Prints a row for each kind, and the first faults on standard error."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    faults = 0
    print("| kind | mutations | read | refused | faults | slowest / s | most memory / MB |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in options.only or KINDS:
        with TemporaryDirectory() as folder:
            kind = KINDS[name]()
            number = min(options.mutations, kind.most or options.mutations)
            numbers = range(options.first, options.first + number)
            outcome = fuzz(kind, Path(folder), numbers, options.seed)
        print(
            f"| {name} | {number:,} | {outcome.read:,} | {outcome.refused:,} | "
            f"{len(outcome.faults):,} | {outcome.seconds:.1f} | {outcome.bytes / 1e6:.0f} |",
            flush=True,
        )
        for fault in outcome.faults[:20]:
            print(" ".join(fault.split())[:300], file=sys.stderr)
        faults += len(outcome.faults)
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Fuzz))
