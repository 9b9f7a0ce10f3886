"""Which estimator the options of a command name."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distax.errors import DistaxError

if TYPE_CHECKING:
    from distax.unmixer import Unmixer

Method = Literal["fast", "posterior", "refine", "grid"]


def chosen_unmixer(method: Method | None, checkpoint: Path | None, threshold: float) -> "Unmixer":
    """The unmixer for `--method` and `--checkpoint`: without either, the network of distax.

    Raises:
      DistaxError: they do not go together, or the checkpoint cannot be used.
    """
    from distax.unmixer import Unmixer

    if checkpoint is None:
        if method == "grid":
            raise DistaxError("the method grid needs a trained model: name one by --checkpoint")
        return Unmixer(method=method or "fast")
    if method in ("refine", "posterior"):
        raise DistaxError(f"{method} has no model; give --method or --checkpoint, not both")
    unmixer = Unmixer.load(checkpoint, threshold)
    if method not in (None, unmixer.method):
        raise DistaxError(
            f"the model of {checkpoint} is for the method {unmixer.method}, not {method}; leave "
            "--method out"
        )
    return unmixer
