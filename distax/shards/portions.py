"""Portions of many images, each unmixed on one of the local devices."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from distax.imaging.targets import Targets
from distax.runtime.batching import inference_batch, pad_rows
from distax.unmixer import Unmixer


def devices_in_turn() -> Sequence[jax.Device]:
    """Lists this process's devices that may run programs at the same time; of CPU devices only one.

    Programs that a CPU runs at the same time can wait for each other's threads for ever.
    """
    devices = jax.local_devices()
    return devices[:1] if devices[0].platform == "cpu" else devices


def unmix_on(
    device: jax.Device, unmixer: Unmixer, images: Float[np.ndarray, "N height width"]
) -> Targets:
    """Finds the targets `[N, K]` in a portion of images, as `Unmixer.unmix_portion`, on a device.

    Portions are padded to whole batches, so that a new length compiles no new program.
    """
    with jax.default_device(device):
        found = unmixer.unmix_portion(pad_rows(images, inference_batch()))
    return jax.tree.map(lambda leaf: leaf[: len(images)], found)
