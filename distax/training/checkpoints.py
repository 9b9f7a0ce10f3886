"""Checkpoints of a run: the last and the best, each whole or absent.

Orbax writes a checkpoint under a temporary name and renames it when it is complete, and the one
before is deleted only after that: whatever interrupts a save, the one before stays. Arrays are
stored by name, so that a file of another architecture can be told by the names that differ.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import optax

from distax.config import TrainConfig, from_dict
from distax.errors import DistaxError
from distax.evaluation import Evaluation
from distax.models import Model
from distax.pytree import named_leaves, with_leaves
from distax.training.state import TrainState, abstract_model, init_state, make_optimizer, merge

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

Which = Literal["best", "last"]


def save(
    run: Path,
    which: Which,
    state: TrainState,
    config: TrainConfig,
    evaluation: Evaluation | None,
) -> None:
    """Save a run's best or last checkpoint in place of the one before.

    Raises:
      DistaxError: the disk is full or not writable; the one before is untouched.
    """
    import orbax.checkpoint as ocp

    step, folder = int(state.step), run / which
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
            f"{folder}: the checkpoint of step {step} could not be saved ({_first_line(error)}); "
            "the one before is untouched: free space and resume"
        ) from error


def read_about(run: Path, which: Which) -> tuple[TrainConfig, Evaluation | None]:
    """The configuration a checkpoint was trained with, and its evaluation if it had one.

    Raises:
      DistaxError: there is no finished checkpoint, or it is damaged.
    """
    about = _read(run / which)
    evaluation = Evaluation(**about["evaluation"]) if about["evaluation"] else None
    return from_dict(about["config"], str(run / which)), evaluation


def load_model(run: Path, which: Which | None = None) -> tuple[Model, TrainConfig]:
    """A trained model with its configuration.

    Args:
      run: the run's folder.
      which: the checkpoint; without it the best, or the last of a run not yet evaluated.

    Raises:
      DistaxError: there is no finished checkpoint, it is damaged, or its arrays are not those of
        the model its configuration names.
    """
    import orbax.checkpoint as ocp

    which = which or ("best" if (run / "best").is_dir() else "last")
    about = _read(run / which)
    config = from_dict(about["config"], str(run / which))
    model = abstract_model(config)
    wanted = _model_part(init_state(model, optax.identity()))
    _check_arrays(run / which, about, wanted)
    restored = _restore(run / which, model=ocp.args.StandardRestore(named_leaves(wanted)))
    return merge(model, **with_leaves(wanted, restored["model"])), config


def load_state(run: Path, config: TrainConfig) -> TrainState:
    """The last state of a run, to go on from.

    Raises:
      DistaxError: as `load_model`.
    """
    import orbax.checkpoint as ocp

    optimizer = make_optimizer(config.optimizer, config.steps)
    state = jax.eval_shape(lambda: init_state(abstract_model(config), optimizer))
    model, training = _model_part(state), _training_part(state)
    _check_arrays(run / "last", _read(run / "last"), model)
    restored = _restore(
        run / "last",
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
def _manager(folder: Path) -> "Iterator[ocp.CheckpointManager]":
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        yield manager


def _restore(folder: Path, **items: Any) -> Any:
    import orbax.checkpoint as ocp

    step = _finished_step(folder)
    try:
        with _manager(folder) as manager:
            return manager.restore(step, args=ocp.args.Composite(**items))
    # A damaged file surfaces as whichever exception the layer that reads it raises.
    except Exception as error:
        raise DistaxError(
            f"{folder / str(step)}: the checkpoint is damaged ({_first_line(error)}); "
            "use another one or train again"
        ) from error


def _check_space(folder: Path, needed: int) -> None:
    """Find out that the disk is full before a hundred writers do."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"it needs {needed / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB left")


def _discard(folder: Path, step: int) -> None:
    """Delete an unfinished checkpoint; writers that have not noticed may still be at it."""
    for _ in range(20):
        if not (unfinished := list(folder.glob(f"{step}.orbax-checkpoint-tmp*"))):
            return
        for path in unfinished:
            shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.1)


def _finished_step(folder: Path) -> int:
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    if steps:
        return max(steps)
    if any(folder.glob("*.orbax-checkpoint-tmp*")):
        raise DistaxError(
            f"{folder}: the only checkpoint is half-written, its save was interrupted; train again"
        )
    raise DistaxError(
        f"{folder}: no checkpoint there; give the folder of a run of `distax train` or `quickstart`"
    )


def _read(folder: Path) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    return _restore(folder, about=ocp.args.JsonRestore())["about"]


def _check_arrays(folder: Path, about: dict[str, Any], model: dict[str, Any]) -> None:
    """Compare names and shapes of a model's arrays with those stored."""
    stored, wanted = about["arrays"], _shapes(model)
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise DistaxError(
                f"{folder}: array {name} is {stored.get(name, 'absent')} there and "
                f"{wanted.get(name, 'absent')} in the model: a checkpoint of another architecture"
            )


def _shapes(tree: Any) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in named_leaves(tree).items()}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
