"""Specifications of TPU chips, and the peaks of GPUs."""

from dataclasses import dataclass

from distax.runtime.errors import unknown


@dataclass(frozen=True)
class Chip:
    """A chip's specifications, as its vendor states them.

    Attributes:
      name: generation, as in the names of topologies.
      peak_flops: multiplications and additions a second in bfloat16.
      memory_bytes: size of the high-bandwidth memory.
      memory_bandwidth: bytes a second between that memory and the chip.
      slice_bandwidth: bytes a second to the other chips of a slice, both directions together.
      network_bandwidth: bytes a second to other slices: a chip's share of its slice's bandwidth.
      largest: chips along each side of the largest slice.
      layout: libtpu's name of the layout in which a chip is one device.
      kind: JAX's name of the device (`jax.Device.device_kind`).
    """

    name: str
    peak_flops: float
    memory_bytes: float
    memory_bandwidth: float
    slice_bandwidth: float
    network_bandwidth: float
    largest: tuple[int, ...]
    layout: str
    kind: str


_GIB = 2.0**30

CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 275e12, 32 * _GIB, 1200e9, 300e9, 3.1e9, (16, 16, 16), "megacore", "TPU v4"),
        Chip("v5e", 197e12, 16 * _GIB, 819e9, 200e9, 3.1e9, (16, 16), "default", "TPU v5 lite"),
        Chip("v5p", 459e12, 95 * _GIB, 2765e9, 600e9, 6.25e9, (16, 16, 24), "megachip", "TPU v5"),
        Chip("v6e", 918e12, 32 * _GIB, 1600e9, 400e9, 12.5e9, (16, 16), "default", "TPU v6 lite"),
    )
}
"""Chips by generation.

Source: cloud.google.com/tpu/docs, pages v4, v5e, v5p and v6e (2026). Their interconnect is given
there in Gbit/s: 2400, 1600, 4800 and 3200. A chip's share of the network is the pod's bandwidth
divided by the pod's chips. That of v4 is not given; the value of v5e is used.
"""

_GPU_PEAKS = {
    "NVIDIA A10": 125e12,
    "NVIDIA A100": 312e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA GH200": 989e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 836e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "Tesla T4": 65e12,
    "Tesla V100": 125e12,
}
"""Multiplications and additions a second in bfloat16, by the beginning of JAX's name of the device.

Source: NVIDIA's data sheets of each card, dense matrices. V100 and T4 have float16 only.
"""


def find_peak(kind: str) -> float | None:
    """Returns an accelerator's operations a second in bfloat16; None if it is not known.

    Args:
      kind: JAX's name of the device (`jax.Device.device_kind`).
    """
    tpus = {
        name: chip.peak_flops for chip in CHIPS.values() for name in (chip.kind, f"TPU {chip.name}")
    }
    peaks = _GPU_PEAKS | tpus
    known = [name for name in peaks if kind == name or kind.startswith((f"{name} ", f"{name}-"))]
    return peaks[max(known, key=len)] if known else None


def find_chip(generation: str) -> Chip:
    """Returns the specifications of a generation.

    Raises:
      DistaxError: unknown generation.
    """
    if generation not in CHIPS:
        raise unknown("chip", generation, CHIPS)
    return CHIPS[generation]
