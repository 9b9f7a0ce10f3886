"""`distax unmix --output`: unmixes shards of images into a folder of results."""

from collections.abc import Sequence
from pathlib import Path

import jax

from distax.runtime.errors import DistaxError, Terminated
from distax.runtime.progress import PatientBar
from distax.runtime.sharding import data_mesh, on_any_process
from distax.runtime.signals import ending_soon, sigterm
from distax.runtime.terminal import tell
from distax.shards import Outcome, find_shards, unmix_shards
from distax.unmixer import Unmixer


def unmix_into(output: Path, files: Sequence[Path], unmixer: Unmixer, file_format: str) -> None:
    """Unmixes this process's share of the shards, and names those of them that cannot be read.

    Process i of n takes every n-th shard from shard i on.

    Args:
      output: folder of the results.
      files: shards, their folders, or patterns.
      unmixer: the unmixer.
      file_format: format of the results.

    Raises:
      DistaxError: as `find_shards` and `unmix_shards`; or a process has shards that cannot be read.
      KeyboardInterrupt, Terminated: the run was stopped.
    """
    every = find_shards(files)
    shards = every[jax.process_index() :: jax.process_count()]
    outcome = Outcome(len(shards))

    def stopped() -> str:
        return (
            f"stopped: {outcome.done} of {outcome.shards} shards are finished; run the same "
            "command to continue"
        )

    with (
        ending_soon(lambda: tell(stopped())),
        sigterm() as stop_requested,
        PatientBar("shard", len(shards)) as progress,
    ):

        def advance(now: Outcome) -> None:
            nonlocal outcome
            outcome = now
            progress.update(now.done + len(now.failed), now.images)
            if stop_requested():
                raise Terminated

        try:
            outcome = unmix_shards(unmixer, shards, output, file_format, advance)
        except (KeyboardInterrupt, Terminated) as stop:
            raise type(stop)(stopped()) from None
    _report(output, outcome)


def _report(output: Path, outcome: Outcome) -> None:
    """Prints what was done; raises DistaxError if a process has shards that cannot be read."""
    for problem in outcome.failed.values():
        tell(problem)
    print(
        f"{output}: results of {outcome.done} of {outcome.shards} shards, {outcome.images:,} "
        "images unmixed now"
    )
    # All processes end in the same way, as one that fails alone would end the others.
    failed = bool(on_any_process(bool(outcome.failed), data_mesh()))
    if outcome.failed:
        raise DistaxError(f"{len(outcome.failed)} of {outcome.shards} shards could not be unmixed")
    if failed:
        raise DistaxError("another process has shards that could not be unmixed")
