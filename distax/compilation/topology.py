"""TPU slices that are not there: their devices, from the compiler's description."""

import math
import os
import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from distax.compilation.chips import Chip, find_chip
from distax.runtime.errors import DistaxError, first_line
from distax.runtime.optional import require
from distax.runtime.sharding import AXIS

_NAME = re.compile(r"(?:(?P<slices>\d+)x)?(?P<chip>v\d+[a-z]*):(?P<shape>\d+(?:x\d+)*)")
_EXAMPLES = "v5e:2x2, v5e:16x16, v6e:8x8, v5p:4x4x4, v4:2x2x1, or 2xv5e:16x16 for two slices"


@dataclass(frozen=True)
class Topology:
    """Chips that programs are compiled for.

    Attributes:
      name: name, such as "v5e:16x16", or "2xv5e:16x16" for two slices.
      chip: the chips' figures.
      slices: number of slices.
      devices: the chips of all slices, slice after slice.
    """

    name: str
    chip: Chip
    slices: int
    devices: tuple[jax.Device, ...]

    @property
    def mesh(self) -> Mesh:
        """Mesh over all chips, as `runtime.sharding.data_mesh` makes it."""
        return Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))


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
    if len(shape) != chip.dimensions:
        raise DistaxError(
            f"unknown topology {name!r}: slices of {chip.name} have {chip.dimensions} dimensions; "
            f"give one such as {_EXAMPLES}"
        )
    require("libtpu", "TPU programs")
    _quiet()
    options: dict[str, Any] = {"chip_config_name": chip.layout}
    if slices > 1:
        options["num_slices"] = slices
    if math.prod(shape) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
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


def _quiet() -> None:
    """Keeps libtpu from looking for this host's chips, and lets several processes load it."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
