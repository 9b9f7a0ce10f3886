"""Reading of a run's checkpoints, the last and the best; `saving` writes them.

Arrays are stored by name, so that an error about a checkpoint of another architecture can name the
arrays that differ.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import jax
from etils import epath
from flax import nnx

from distax.evaluation import Evaluation
from distax.models import Model
from distax.runtime.buckets import as_epath, is_in_bucket
from distax.runtime.checksums import (
    check_arrays_intact,
    check_finite_arrays,
    check_version,
    checksum_of_settings,
    find_damaged_file,
)
from distax.runtime.errors import DistaxError, check_finite, first_line
from distax.runtime.plain_json import read_table
from distax.runtime.pytree import named_leaves, with_leaves
from distax.runtime.settings import STRICT, from_plain
from distax.runtime.sharding import data_mesh, with_shardings
from distax.training.building import stored_model
from distax.training.config import TrainConfig, from_dict
from distax.training.foreign import read_foreign
from distax.training.optimizer import Averaged
from distax.training.state import TrainState, evaluated_params, merge

Which = Literal["best", "last"]
VERSION = 1
"""Version of the checkpoints. A change that earlier releases cannot read adds one."""


def holds_run(run: epath.PathLike) -> bool:
    """Returns True if a folder holds a finished checkpoint."""
    return any(holds(run, which) for which in get_args(Which))


def holds(run: epath.PathLike, which: Which) -> bool:
    """Returns True if a folder holds a finished checkpoint of that kind."""
    return bool(finished_steps(as_epath(run) / which))


def read_about(run: epath.PathLike, which: Which) -> tuple[TrainConfig, Evaluation | None]:
    """Reads a checkpoint's configuration, and its evaluation or None.

    Raises:
      DistaxError: there is no finished checkpoint, or it is damaged.
    """
    folder = as_epath(run) / which
    about = _read(folder)
    config = from_dict(about.config, str(folder))
    stored = about.evaluation
    return config, _to_evaluation(stored, str(folder)) if stored else None


def _to_evaluation(values: dict[str, Any], where: str) -> Evaluation:
    """Makes an evaluation from stored values; raises DistaxError if they are none."""
    try:
        evaluation = Evaluation(**values)
    except TypeError as error:
        raise DistaxError(f"{where}: evaluation: {first_line(error)}") from error
    check_finite(**{f"{where}: evaluation: {key}": n for key, n in evaluation.headline.items()})
    return evaluation


def load_model(run: epath.PathLike, which: Which | None = None) -> tuple[Model, TrainConfig]:
    """Loads a trained model and its configuration.

    It does not import the Python file of the model that the configuration may name.

    Args:
      run: the run's folder.
      which: the checkpoint. Default: the best, or the last if the run was not evaluated yet.

    Raises:
      DistaxError: there is no finished checkpoint, it is damaged, its arrays do not fit the model
        that its configuration names, or that model is not registered.
    """
    import orbax.checkpoint as ocp

    run = as_epath(run)
    folder = run / (which or ("best" if holds(run, "best") else "last"))
    about = _read(folder)
    config = read_foreign(about.config, str(folder))
    model = stored_model(config, about.arrays.values(), str(folder))
    params, constants = nnx.state(model, nnx.Param, ...)
    # Placed on one device of this process, so that a process can load a model on its own.
    one_device = data_mesh(jax.local_devices()[:1])
    wanted = with_shardings({"params": params, "constants": constants}, one_device, shard=False)
    check_arrays(str(folder), about.arrays, wanted)
    restored = _restore(folder, model=ocp.args.StandardRestore(named_leaves(wanted)))
    state = with_leaves(wanted, restored["model"])
    check_arrays_intact(str(folder), about.checksums, [state])
    check_finite_arrays(str(folder), state)
    return merge(model, **state), config


def load_state(run: epath.PathLike, abstract: TrainState) -> TrainState:
    """Loads the last state of a run, to continue it on any number of devices.

    Args:
      run: the run's folder.
      abstract: shapes, types and shardings of the state; see `training.state.abstract_state`.

    Raises:
      DistaxError: as `load_model`.
    """
    import orbax.checkpoint as ocp

    folder = as_epath(run) / "last"
    model, training = model_part(abstract), training_part(abstract)
    about = _read(folder)
    check_arrays(str(folder), about.arrays, model)
    restored = _restore(
        folder,
        model=ocp.args.StandardRestore(named_leaves(model)),
        training=ocp.args.StandardRestore(named_leaves(training)),
    )
    parts = with_leaves(model, restored["model"]), with_leaves(training, restored["training"])
    check_arrays_intact(str(folder), about.checksums, parts)
    return TrainState(**parts[0] | parts[1])


def model_part(state: TrainState) -> dict[str, Any]:
    """Returns the arrays of a state that the model consists of."""
    return {"params": evaluated_params(state), "constants": state.constants}


def training_part(state: TrainState) -> dict[str, Any]:
    """Returns the other arrays of a state, which only the training needs."""
    part = {"opt_state": state.opt_state, "step": state.step}
    # The model's part then has their average.
    return {**part, "params": state.params} if isinstance(state.opt_state, Averaged) else part


def _restore(folder: epath.Path, **items: Any) -> Any:
    import orbax.checkpoint as ocp

    step = _finished_step(folder)
    checkpoint = absolute(folder / str(step))
    # Damaged files can crash the libraries that read them.
    damaged = None if is_in_bucket(folder) else find_damaged_file(Path(checkpoint))
    if damaged:
        raise _damaged(folder / str(step), ValueError(f"{damaged} differs from its checksum"))
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    try:
        with ocp.CheckpointManager(absolute(folder), options=options) as manager:
            return manager.restore(step, args=ocp.args.Composite(**items))
    # A damaged file raises a different exception in each of the layers that read it.
    except Exception as error:
        raise _damaged(folder / str(step), error) from error


def _damaged(checkpoint: epath.Path, error: Exception) -> DistaxError:
    return DistaxError(
        f"{checkpoint}: the checkpoint is damaged ({first_line(error)}); use another one or train "
        "again"
    )


def absolute(folder: epath.Path) -> epath.Path:
    """Returns the absolute path of a folder; etils resolves gs://bucket/run to one on disk."""
    return folder if is_in_bucket(folder) else folder.resolve()


def finished_steps(folder: epath.Path) -> list[int]:
    """Returns the steps of the complete checkpoints of one kind."""
    import orbax.checkpoint as ocp

    # In a bucket nothing can be renamed, so a final name does not prove a finished checkpoint.
    numbered = (path for path in folder.glob("*") if path.name.isdecimal())
    return [int(path.name) for path in numbered if ocp.utils.is_checkpoint_finalized(path)]


def _finished_step(folder: epath.Path) -> int:
    if steps := finished_steps(folder):
        return max(steps)
    if any(folder.glob("[0-9]*")):
        raise DistaxError(
            f"{folder}: the only checkpoint is half-written, its save was interrupted; train again"
        )
    raise DistaxError(
        f"{folder}: no checkpoint there; give the folder of a run of `distax train` or "
        "`quickstart`, or begin the run again if it was stopped before its first checkpoint"
    )


@dataclass(frozen=True)
class _About:
    """Description that is stored beside a checkpoint's arrays.

    Attributes:
      config: the configuration as `TrainConfig.to_dict` makes it.
      arrays: shapes of the model's arrays by name.
      evaluation: the evaluation; None before the first.
      checksums: checksums of all arrays; None in checkpoints of the first releases.
      version: version of the checkpoints.
    """

    config: dict[str, Any]
    arrays: dict[str, list[int]]
    evaluation: dict[str, Any] | None = None
    checksums: dict[str, int] | None = None
    version: int = VERSION

    __pydantic_config__ = STRICT


def _read(folder: epath.Path) -> _About:
    """Reads the JSON that `save` stored beside the arrays.

    Reads the file itself, not through Orbax. Orbax would start JAX's devices, which must not happen
    before the processes of a cluster have met.
    """
    step = _finished_step(folder)
    try:
        about = read_table(folder / str(step) / "about/metadata")
        # Checkpoints of the first releases have neither a version nor a checksum.
        version, checksum = about.get("version", VERSION), about.pop("checksum", None)
    except (OSError, ValueError) as error:
        raise _damaged(folder / str(step), error) from error
    if checksum not in (None, checksum_of_settings(about)):
        raise _damaged(folder / str(step), ValueError("its settings differ from their checksum"))
    check_version(folder, "checkpoints", version, VERSION)
    return from_plain(_About, about, str(folder / str(step)))


def check_arrays(where: str, stored: dict[str, list[int]], wanted: Any) -> None:
    """Compares the names and shapes of stored arrays with those of a tree.

    Args:
      where: the file or folder, for error messages.
      stored: shapes by name.
      wanted: a tree of arrays or their shapes.

    Raises:
      DistaxError: they differ; the message names the first three and counts the others.
    """
    expected = shapes(wanted)
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


def shapes(tree: Any) -> dict[str, list[int]]:
    """Returns the shapes of a tree's arrays by their names."""
    return {name: list(array.shape) for name, array in named_leaves(tree).items()}
