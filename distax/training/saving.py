"""Saving of checkpoints by Orbax, while the training goes on.

Orbax copies the arrays to the host's memory. Its threads write them under a temporary name, and
rename the checkpoint when it is complete. Only then is the previous checkpoint deleted, so an
interrupted save leaves it in place.
"""

import shutil
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, get_args

import jax
from etils import epath

from distax.evaluation import Evaluation
from distax.runtime.buckets import as_epath, is_in_bucket
from distax.runtime.checksums import add_file_checksums, checksum_of_settings, checksums
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.pytree import named_leaves
from distax.training.checkpoints import (
    VERSION,
    Which,
    absolute,
    finished_steps,
    model_part,
    shapes,
    training_part,
)
from distax.training.config import TrainConfig
from distax.training.state import TrainState

if TYPE_CHECKING:
    import orbax.checkpoint as ocp


def save(
    run: epath.PathLike,
    which: Which,
    state: TrainState,
    config: TrainConfig,
    evaluation: Evaluation | None,
) -> None:
    """Saves a checkpoint and waits until it is complete; see `Saver`.

    Raises:
      DistaxError: as `Saver.save`.
    """
    with Saver(run, config) as saver:
        saver.save(which, state, evaluation)


class Saver:
    """Saves the checkpoints of a run. At the end of the `with` block all are complete.

    With several processes all must make the same calls; each writes the parts on its own devices.
    Checkpoints that are there already get the checksums that a killed process did not write.

    Args:
      run: the run's folder.
      config: the run's configuration, stored beside the arrays.
    """

    def __init__(self, run: epath.PathLike, config: TrainConfig):
        self._run, self._config = as_epath(run), config
        self._writers: dict[Which, _Writer] = {}
        for which in get_args(Which):
            # A process that was killed may not have written the checksums.
            for step in finished_steps(self._run / which):
                _add_checksums(self._run / which / str(step))

    def save(self, which: Which, state: TrainState, evaluation: Evaluation | None) -> None:
        """Begins to save a checkpoint in place of the previous one of its kind.

        Waits until the previous one is complete. After the call, the state may be donated.

        Args:
          which: the kind of checkpoint.
          state: the state to save.
          evaluation: the state's evaluation, stored too; None if it was not evaluated.

        Raises:
          DistaxError: the disk is full or not writable, now or during the previous save. The last
            complete checkpoint is untouched.
        """
        import orbax.checkpoint as ocp

        about = {
            "version": VERSION,
            "config": self._config.to_dict(),
            "evaluation": evaluation.to_dict() if evaluation else None,
            "arrays": shapes(model_part(state)),
            "checksums": checksums([model_part(state), training_part(state)]),
        }
        about["checksum"] = checksum_of_settings(about)
        items = ocp.args.Composite(
            model=ocp.args.StandardSave(named_leaves(model_part(state))),
            training=ocp.args.StandardSave(named_leaves(training_part(state))),
            about=ocp.args.JsonSave(about),
        )
        if which not in self._writers:
            self._writers[which] = _Writer(self._run / which, which)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        self._writers[which].begin(int(state.step), items, size)

    def wait(self) -> None:
        """Waits until all checkpoints are complete.

        Raises:
          DistaxError: a checkpoint could not be saved.
        """
        for writer in self._writers.values():
            writer.wait()

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except DistaxError:
            # An error of the run comes first.
            if error is None:
                raise
        finally:
            for writer in self._writers.values():
                writer.close()


class _Writer:
    """Writes the checkpoints of one kind, one after the other."""

    def __init__(self, folder: epath.Path, name: str):
        self._folder, self._name = folder, name
        self._step = 0
        self._manager: ocp.CheckpointManager | None = None

    def begin(self, step: int, items: "ocp.args.Composite", size: int) -> None:
        """Begins to write a step's checkpoint, of `size` bytes."""
        self.wait()
        self._step = step
        try:
            _check_space(self._folder, size)
            if self._manager is None:
                self._manager = self._open()
            # A resumed run may have the best checkpoint of a step that it does again.
            if step not in self._manager.all_steps():
                self._manager.save(step, args=items, force=True)
        # Orbax and the storage below it report a full disk by one of several unrelated exceptions.
        except Exception as error:
            raise self._failed(error) from error

    def _open(self) -> "ocp.CheckpointManager":
        import orbax.checkpoint as ocp

        # Two managers write at the same time, so each needs barriers of its own.
        apart = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=self._name)
        options = ocp.CheckpointManagerOptions(max_to_keep=1, multiprocessing_options=apart)
        return ocp.CheckpointManager(absolute(self._folder), options=options)

    def wait(self) -> None:
        """Waits until the checkpoint that was begun is complete."""
        try:
            if self._manager is not None:
                self._manager.wait_until_finished()
                _add_checksums(self._folder / str(self._step))
        except Exception as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Ends the threads that write."""
        if self._manager is not None:
            # What it raises here was raised before.
            with suppress(Exception):
                self._manager.close()

    def _failed(self, error: Exception) -> DistaxError:
        _discard(self._folder, self._step)
        return DistaxError(
            f"{self._folder}: the checkpoint of step {self._step} could not be saved "
            f"({first_line(error)}); the previous one is untouched: free space and resume"
        )


def _add_checksums(checkpoint: epath.Path) -> None:
    """Adds the checksums of a checkpoint's files. Objects in buckets have checksums already."""
    if not (is_in_bucket(checkpoint) or jax.process_index()) and checkpoint.exists():
        add_file_checksums(Path(absolute(checkpoint)))


def _check_space(folder: epath.Path, needed: int) -> None:
    """Raises OSError if the disk has too little space, before Orbax begins to write."""
    if is_in_bucket(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"it needs {needed / 1e6:.3f} MB, the disk has {free / 1e6:.3f} MB left")


def _discard(folder: epath.Path, step: int) -> None:
    """Deletes an unfinished checkpoint.

    Tries for two seconds, because writers that have not noticed the failure may still add files.
    """
    for _ in range(20):
        unfinished = list(folder.glob(f"{step}.orbax-checkpoint-tmp*"))
        if is_in_bucket(folder) and step not in finished_steps(folder):
            unfinished += folder.glob(str(step))
        if not unfinished:
            return
        for path in unfinished:
            with suppress(OSError):
                path.rmtree(missing_ok=True)
        time.sleep(0.1)
