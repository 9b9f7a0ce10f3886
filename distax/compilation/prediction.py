"""Memory, traffic and speed of compiled programs, predicted from a chip's specifications."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from distax.compilation.programs import Compiled
from distax.compilation.topology import Topology
from distax.costs import BETWEEN_SLICES, Collective, Cost, cost_of, parse


@dataclass(frozen=True)
class Prediction:
    """Memory, cost and times of one program on each chip.

    The times are lower bounds by the roofline model: no program is faster, and most are slower.

    Attributes:
      name: what the program computes.
      images: images of all chips in one call.
      argument_bytes, temporary_bytes, output_bytes, program_bytes: memory of a chip; outputs that
        take the place of arguments are not counted.
      cost: operations, traffic and collectives of a call.
      compute_seconds: operations over the peak in bfloat16.
      memory_seconds: traffic of the high-bandwidth memory over its bandwidth.
      interconnect_seconds: time of the collectives, within slices and between them.
      compile_seconds: time to trace, lower and compile the program.
    """

    name: str
    images: int
    argument_bytes: int
    temporary_bytes: int
    output_bytes: int
    program_bytes: int
    cost: Cost
    compute_seconds: float
    memory_seconds: float
    interconnect_seconds: float
    compile_seconds: float

    @property
    def memory(self) -> int:
        """Total bytes of a chip's memory that the program needs."""
        return self.argument_bytes + self.temporary_bytes + self.output_bytes + self.program_bytes

    @property
    def seconds(self) -> float:
        """Time of a call: computing and memory overlap, the interconnect comes after them."""
        return max(self.compute_seconds, self.memory_seconds) + self.interconnect_seconds

    @property
    def bound_by(self) -> str:
        """Name of the longest of the three times: compute, memory or interconnect."""
        roofs = {
            "compute": self.compute_seconds,
            "memory": self.memory_seconds,
            "interconnect": self.interconnect_seconds,
        }
        return max(roofs, key=roofs.__getitem__)


@dataclass(frozen=True)
class Report:
    """Prediction of a command on a topology.

    Attributes:
      topology: the chips.
      programs: its programs, which run one after the other on the same images.
    """

    topology: Topology
    programs: Sequence[Prediction]

    @property
    def missing_bytes(self) -> int:
        """Bytes by which the largest program exceeds a chip's memory; 0 if all fit."""
        needed = max(program.memory for program in self.programs)
        return max(needed - int(self.topology.chip.memory_bytes), 0)

    @property
    def images_per_second(self) -> float:
        """Images a second of all chips together."""
        return self.programs[0].images / sum(program.seconds for program in self.programs)

    @property
    def efficiency(self) -> float:
        """Images/s of a chip relative to those of a single chip, which communicates with none."""
        alone = sum(program.seconds - program.interconnect_seconds for program in self.programs)
        return alone / sum(program.seconds for program in self.programs)

    def to_dict(self) -> dict[str, Any]:
        """Converts to plain values; bytes, operations and traffic are those of a chip and call."""
        chips, largest = len(self.topology.devices), max(self.programs, key=lambda p: p.memory)
        slowest = max(self.programs, key=lambda program: program.seconds)
        cost = sum((program.cost for program in self.programs), Cost())
        return {
            "topology": self.topology.name,
            "chips": chips,
            "images_per_call": self.programs[0].images,
            "flops": cost.flops,
            "bytes_accessed": cost.bytes_accessed,
            "memory_bytes_accessed": cost.memory_bytes,
            "argument_bytes": largest.argument_bytes,
            "temporary_bytes": largest.temporary_bytes,
            "output_bytes": largest.output_bytes,
            "program_bytes": largest.program_bytes,
            "memory_bytes": largest.memory,
            "missing_bytes": self.missing_bytes,
            "chip_memory_bytes": int(self.topology.chip.memory_bytes),
            "fits": not self.missing_bytes,
            "collectives": _plain(cost.collectives),
            "bound_by": slowest.bound_by,
            "predicted_images_per_second": {
                "per_chip": self.images_per_second / chips,
                "all": self.images_per_second,
            },
            "efficiency": self.efficiency,
            "compile_seconds": sum(program.compile_seconds for program in self.programs),
            "programs": [_about(program) for program in self.programs],
        }


def predict(compiled: Sequence[Compiled], topology: Topology) -> Report:
    """Predicts memory, traffic and speed of compiled programs."""
    return Report(topology, [_predict(one, topology) for one in compiled])


def _predict(compiled: Compiled, topology: Topology) -> Prediction:
    memory = compiled.program.memory_analysis()
    assert memory is not None  # The TPU compiler always gives it.
    cost, chip = cost_of(parse(compiled.text)), topology.chip
    return Prediction(
        name=compiled.name,
        images=compiled.images,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        output_bytes=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        program_bytes=memory.generated_code_size_in_bytes,
        cost=cost,
        compute_seconds=cost.flops / chip.peak_flops,
        memory_seconds=cost.memory_bytes / chip.memory_bandwidth,
        interconnect_seconds=_interconnect_seconds(cost, topology),
        compile_seconds=compiled.seconds,
    )


def _interconnect_seconds(cost: Cost, topology: Topology) -> float:
    """Returns the time of the collectives: rings within each slice, and between slices.

    In an all-reduce a chip sends each byte twice: to sum the parts, and then to share the sums
    (Patarasuk & Yuan, J. Parallel Distrib. Comput. 69, 2009). In an all-gather it sends each byte
    once for every other chip, and in other collectives once.
    """
    chip, slices = topology.chip, topology.slices
    within = len(topology.devices) // slices, chip.slice_bandwidth
    between = slices, chip.network_bandwidth
    seconds = 0.0
    for name, collective in cost.collectives.items():
        kind = name.removesuffix(BETWEEN_SLICES)
        members, bandwidth = within if kind == name else between
        times = {"all-reduce": 2, "all-gather": members}.get(kind, 1)
        seconds += times * collective.bytes * (members - 1) / members / bandwidth
    return seconds


def _plain(collectives: Mapping[str, Collective]) -> dict[str, dict[str, int]]:
    return {kind: asdict(collective) for kind, collective in collectives.items()}


def _about(program: Prediction) -> dict[str, Any]:
    return {
        "name": program.name,
        "images_per_call": program.images,
        "flops": program.cost.flops,
        "bytes_accessed": program.cost.bytes_accessed,
        "memory_bytes_accessed": program.cost.memory_bytes,
        "argument_bytes": program.argument_bytes,
        "temporary_bytes": program.temporary_bytes,
        "output_bytes": program.output_bytes,
        "program_bytes": program.program_bytes,
        "collectives": _plain(program.cost.collectives),
        "loops_counted_once": program.cost.open_loops,
        "seconds": {
            "compute": program.compute_seconds,
            "memory": program.memory_seconds,
            "interconnect": program.interconnect_seconds,
        },
        "bound_by": program.bound_by,
        "compile_seconds": program.compile_seconds,
    }
