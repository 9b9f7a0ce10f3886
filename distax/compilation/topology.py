"""Absent TPU slices: their devices, as the compiler describes them."""

import math
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from distax.costs import Chip, find_chip
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.optional import require
from distax.runtime.platforms import quiet_tpu_compiler
from distax.runtime.sharding import data_mesh

_NAME = re.compile(r"(?:(?P<slices>\d+)x)?(?P<chip>v\d+[a-z]*):(?P<shape>\d+(?:x\d+)*)")
_MOST_SLICES = 256
_EXAMPLES = "v5e:2x2, v5e:16x16, v6e:8x8, v5p:4x4x4, v4:2x2x1, or 2xv5e:16x16 for two slices"


@dataclass(frozen=True)
class Topology:
    """Chips that programs are compiled for.

    Attributes:
      name: name, such as "v5e:16x16", or "2xv5e:16x16" for two slices.
      chip: the chips' specifications.
      slices: number of slices.
      devices: the chips of all slices, slice after slice.
    """

    name: str
    chip: Chip
    slices: int
    devices: tuple[jax.Device, ...]

    @property
    def mesh(self) -> Mesh:
        """Mesh over all chips."""
        return data_mesh(self.devices)


def open_topology(name: str) -> Topology:
    """Opens a topology by its name.

    Args:
      name: generation and shape of the slice, such as "v5e:16x16"; "2xv5e:16x16" for two slices.

    Raises:
      DistaxError: libtpu is not installed, or no slice has this name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DistaxError(f"unknown topology {name!r}; give one such as {_EXAMPLES}")
    chip, slices = find_chip(match["chip"]), int(match["slices"] or 1)
    shape = [int(side) for side in match["shape"].split("x")]
    if len(shape) != len(chip.largest):
        raise DistaxError(
            f"unknown topology {name!r}: slices of {chip.name} have {len(chip.largest)} "
            f"dimensions; give one such as {_EXAMPLES}"
        )
    # For a slice that does not exist, the compiler would end the process.
    fits = all(side <= most for side, most in zip(sorted(shape), sorted(chip.largest), strict=True))
    if not fits or not 1 <= slices <= _MOST_SLICES:
        largest = "x".join(map(str, chip.largest))
        raise DistaxError(
            f"unknown topology {name!r}: a slice of {chip.name} is at most {largest}, and there are"
            f" 1 to {_MOST_SLICES} slices; give one such as {_EXAMPLES}"
        )
    require("libtpu", "TPU programs")
    quiet_tpu_compiler()
    options: dict[str, Any] = {"chip_config_name": chip.layout}
    if slices > 1:
        options["num_slices"] = slices
    if math.prod(shape) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        with _own_sigterm():
            description = topologies.get_topology_desc(
                f"{chip.name}:{match['shape']}", "tpu", **options
            )
    except Exception as error:
        raise DistaxError(
            f"the TPU compiler refuses the topology {name!r} ({first_line(error)}); give one such "
            f"as {_EXAMPLES}"
        ) from error
    devices = tuple(description.devices)
    if len(devices) != slices * math.prod(shape):
        raise DistaxError(f"the TPU compiler gives {len(devices)} chips for {name!r}")
    return Topology(name, chip, slices, devices)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Restores the handler of SIGTERM: libtpu sets its own, which prints a dump of its stack."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
