"""Checkpoints of a run: the last and the best, each whole or absent.

Orbax writes a checkpoint under a temporary name and renames it when it is complete, and the one
before is deleted only after that: whatever interrupts a save, the one before stays. Arrays are
stored by name, so that a file of another architecture can be told by the names that differ.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import optax
from etils import epath
from jax.sharding import Mesh

from distax.evaluation import Evaluation
from distax.models import Model
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.pytree import named_leaves, with_leaves
from distax.runtime.sharding import data_mesh, with_shardings
from distax.training.config import TrainConfig, from_dict
from distax.training.state import TrainState, abstract_model, abstract_state, init_state, merge

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

Which = Literal["best", "last"]


def holds_run(run: epath.PathLike) -> bool:
    """Whether a folder holds a finished checkpoint."""
    return any(holds(run, which) for which in get_args(Which))


def holds(run: epath.PathLike, which: Which) -> bool:
    """Whether a folder holds a finished checkpoint of that kind."""
    return bool(_finished_steps(epath.Path(run) / which))


def save(
    run: epath.PathLike,
    which: Which,
    state: TrainState,
    config: TrainConfig,
    evaluation: Evaluation | None,
) -> None:
    """Save a run's best or last checkpoint in place of the one before.

    Of several processes all call this; each writes what lies on its devices.

    Raises:
      DistaxError: the disk is full or not writable; the one before is untouched.
    """
    import orbax.checkpoint as ocp

    step, folder = int(state.step), epath.Path(run) / which
    about = {
        "config": config.to_dict(),
        "evaluation": evaluation.to_dict() if evaluation else None,
        "arrays": _shapes(_model_part(state)),
    }
    items = ocp.args.Composite(
        model=ocp.args.StandardSave(named_leaves(_model_part(state))),
        training=ocp.args.StandardSave(named_leaves(_training_part(state))),
        about=ocp.args.JsonSave(about),
    )
    try:
        _check_space(folder, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        with _manager(folder) as manager:
            manager.save(step, args=items, force=True)
    # Orbax and the storage under it report a full disk as one of several unrelated exceptions.
    except Exception as error:
        _discard(folder, step)
        raise DistaxError(
            f"{folder}: the checkpoint of step {step} could not be saved ({first_line(error)}); "
            "the one before is untouched: free space and resume"
        ) from error


def read_about(run: epath.PathLike, which: Which) -> tuple[TrainConfig, Evaluation | None]:
    """The configuration a checkpoint was trained with, and its evaluation if it had one.

    Raises:
      DistaxError: there is no finished checkpoint, or it is damaged.
    """
    folder = epath.Path(run) / which
    about = _read(folder)
    evaluation = Evaluation(**about["evaluation"]) if about["evaluation"] else None
    return from_dict(about["config"], str(folder)), evaluation


def load_model(run: epath.PathLike, which: Which | None = None) -> tuple[Model, TrainConfig]:
    """A trained model with its configuration.

    Args:
      run: the run's folder.
      which: the checkpoint; without it the best, or the last of a run not yet evaluated.

    Raises:
      DistaxError: there is no finished checkpoint, it is damaged, or its arrays are not those of
        the model its configuration names.
    """
    import orbax.checkpoint as ocp

    run = epath.Path(run)
    folder = run / (which or ("best" if holds(run, "best") else "last"))
    about = _read(folder)
    config = from_dict(about["config"], str(folder))
    model = abstract_model(config)
    one_device = data_mesh(jax.local_devices()[:1])
    wanted = with_shardings(
        _model_part(init_state(model, optax.identity())), one_device, shard=False
    )
    check_arrays(str(folder), about["arrays"], wanted)
    restored = _restore(folder, model=ocp.args.StandardRestore(named_leaves(wanted)))
    return merge(model, **with_leaves(wanted, restored["model"])), config


def load_state(run: epath.PathLike, config: TrainConfig, mesh: Mesh | None = None) -> TrainState:
    """The last state of a run, to go on from, on any number of devices.

    Args:
      run: the run's folder.
      config: the run's configuration.
      mesh: the devices to put it on; all there are without it.

    Raises:
      DistaxError: as `load_model`.
    """
    import orbax.checkpoint as ocp

    folder = epath.Path(run) / "last"
    state = abstract_state(config, mesh or data_mesh())
    model, training = _model_part(state), _training_part(state)
    check_arrays(str(folder), _read(folder)["arrays"], model)
    restored = _restore(
        folder,
        model=ocp.args.StandardRestore(named_leaves(model)),
        training=ocp.args.StandardRestore(named_leaves(training)),
    )
    return TrainState(
        **with_leaves(model, restored["model"]), **with_leaves(training, restored["training"])
    )


def _model_part(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, "constants": state.constants}


def _training_part(state: TrainState) -> dict[str, Any]:
    return {"opt_state": state.opt_state, "step": state.step}


@contextmanager
def _manager(folder: epath.Path) -> "Iterator[ocp.CheckpointManager]":
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder.resolve(), options=options) as manager:
        yield manager


def _restore(folder: epath.Path, **items: Any) -> Any:
    import orbax.checkpoint as ocp

    step = _finished_step(folder)
    try:
        with _manager(folder) as manager:
            return manager.restore(step, args=ocp.args.Composite(**items))
    # A damaged file surfaces as whichever exception the layer that reads it raises.
    except Exception as error:
        raise _damaged(folder / str(step), error) from error


def _damaged(checkpoint: epath.Path, error: Exception) -> DistaxError:
    return DistaxError(
        f"{checkpoint}: the checkpoint is damaged ({first_line(error)}); use another one or train "
        "again"
    )


def _check_space(folder: epath.Path, needed: int) -> None:
    """Find out that the disk is full before a hundred writers do."""
    folder.mkdir(parents=True, exist_ok=True)
    if "://" in str(folder):
        return
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"it needs {needed / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB left")


def _discard(folder: epath.Path, step: int) -> None:
    """Delete an unfinished checkpoint; writers that have not noticed may still be at it."""
    for _ in range(20):
        if not (unfinished := list(folder.glob(f"{step}.orbax-checkpoint-tmp*"))):
            return
        for path in unfinished:
            with suppress(OSError):
                path.rmtree(missing_ok=True)
        time.sleep(0.1)


def _finished_steps(folder: epath.Path) -> list[int]:
    import orbax.checkpoint as ocp

    # In a bucket nothing can be renamed, so that a name alone does not tell a finished one.
    numbered = (path for path in folder.glob("*") if path.name.isdecimal())
    return [int(path.name) for path in numbered if ocp.utils.is_checkpoint_finalized(path)]


def _finished_step(folder: epath.Path) -> int:
    if steps := _finished_steps(folder):
        return max(steps)
    if any(folder.glob("*.orbax-checkpoint-tmp*")):
        raise DistaxError(
            f"{folder}: the only checkpoint is half-written, its save was interrupted; train again"
        )
    raise DistaxError(
        f"{folder}: no checkpoint there; give the folder of a run of `distax train` or `quickstart`"
    )


def _read(folder: epath.Path) -> dict[str, Any]:
    """What `save` put beside the arrays. Reads the file itself: Orbax would start JAX's devices,
    which must wait until the processes of a cluster have met.
    """
    step = _finished_step(folder)
    try:
        about: dict[str, Any] = json.loads((folder / str(step) / "about/metadata").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(folder / str(step), error) from error
    return about


def check_arrays(where: str, stored: dict[str, list[int]], wanted: Any) -> None:
    """Compare the names and shapes of stored arrays with those of a tree.

    Raises:
      DistaxError: they differ; the message names the first that do, and says how many there are.
    """
    expected = _shapes(wanted)
    differing = [
        name
        for name in sorted(stored.keys() | expected.keys())
        if stored.get(name) != expected.get(name)
    ]
    if differing:
        named = "; ".join(
            f"array {name} is {stored.get(name, 'absent')} there and "
            f"{expected.get(name, 'absent')} in the model"
            for name in differing[:3]
        )
        more = f"; {len(differing) - 3} more differ" if len(differing) > 3 else ""
        raise DistaxError(f"{where}: {named}{more}: weights of another architecture")


def _shapes(tree: Any) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in named_leaves(tree).items()}
