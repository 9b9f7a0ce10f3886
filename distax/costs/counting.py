"""Cost of a compiled program: operations, traffic and collectives, in all iterations of its loops.

The compiler's own `cost_analysis` counts a loop once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from distax.costs.hlo import Instruction, Program, Shape

_FREE = frozenset(
    {
        "parameter",
        "constant",
        "get-tuple-element",
        "tuple",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "iota",
        "add-dependency",
        "domain",
    }
)
_MOVES = frozenset(
    {
        "copy",
        "copy-start",
        "slice-start",
        "transpose",
        "reshape",
        "broadcast",
        "slice",
        "concatenate",
        "pad",
        "reverse",
        "gather",
        "dynamic-slice",
        "dynamic-update-slice",
        "bitcast-convert",
        "convert",
    }
)
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)
BETWEEN_SLICES = " between slices"
"""End of the names of collectives over the network that joins slices."""

Instructions = Mapping[str, Instruction]


@dataclass(frozen=True)
class Collective:
    """Collectives of one kind: their number, and the bytes that a chip contributes."""

    count: int
    bytes: int

    def __add__(self, other: "Collective") -> "Collective":
        return Collective(self.count + other.count, self.bytes + other.bytes)

    def times(self, number: int) -> "Collective":
        """Returns the collectives of several iterations of a loop."""
        return Collective(number * self.count, number * self.bytes)


@dataclass(frozen=True)
class Cost:
    """Cost of a part of a program on one chip.

    Attributes:
      flops: floating-point operations.
      bytes_accessed: bytes that instructions read and write, on the chip and outside of it.
      memory_bytes: the part of `bytes_accessed` in high-bandwidth memory.
      collectives: exchanges between chips, by kind.
      open_loops: loops whose number of iterations depends on the data; one iteration is counted.
    """

    flops: int = 0
    bytes_accessed: int = 0
    memory_bytes: int = 0
    collectives: Mapping[str, Collective] = field(default_factory=dict)
    open_loops: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        kinds = dict(self.collectives)
        for kind, collective in other.collectives.items():
            kinds[kind] = kinds.get(kind, Collective(0, 0)) + collective
        return Cost(
            self.flops + other.flops,
            self.bytes_accessed + other.bytes_accessed,
            self.memory_bytes + other.memory_bytes,
            kinds,
            self.open_loops + other.open_loops,
        )

    def times(self, number: int) -> "Cost":
        """Returns the cost of several iterations of a loop."""
        return Cost(
            number * self.flops,
            number * self.bytes_accessed,
            number * self.memory_bytes,
            {kind: collective.times(number) for kind, collective in self.collectives.items()},
            self.open_loops,
        )


def cost_of(program: Program) -> Cost:
    """Computes the cost of a program on one chip."""
    return _cost_of_computation(program, program.entry)


def _cost_of_computation(program: Program, name: str) -> Cost:
    instructions = program.computations.get(name, {})
    total = Cost()
    for instruction in instructions.values():
        total += _cost_of_instruction(program, instructions, instruction)
    return total


def _cost_of_instruction(program: Program, around: Instructions, at: Instruction) -> Cost:
    if at.opcode in _FREE or at.opcode.endswith("-done"):
        return Cost()
    if at.opcode == "while":
        return _cost_of_loop(program, at)
    if at.opcode == "call":
        return _cost_of_computation(program, at.attribute("to_apply") or "")
    if at.opcode == "conditional":
        branches = re.findall(r"%([\w.\-]+)", at.rest.partition("branch_computations")[2])
        costs = [_cost_of_computation(program, name) for name in branches]
        return max(costs, key=lambda cost: cost.bytes_accessed, default=Cost())
    kind = _collective_kind(at)
    read = [shape for name in at.operands if name in around for shape in around[name].shapes]
    touched = [*read, *at.shapes]
    if at.opcode == "fusion":
        touched = _touched_by_fusion(program, around, at)
    elif at.opcode in ("dynamic-slice", "slice", "gather", "copy-start", "slice-start"):
        touched = [*at.shapes[:1], *at.shapes[:1]]
        if at.opcode.endswith("-start") and read:
            touched = [_like(at.shapes[0], read[0]), at.shapes[0]]
    elif at.opcode == "dynamic-update-slice":
        update = around[at.operands[1]].shapes if at.operands[1] in around else ()
        touched = [*update, *update]
    collectives = {}
    if kind is not None:
        collectives = {kind: Collective(1, sum(shape.bytes for shape in read))}
    return Cost(
        flops=_flops_of(program, around, at),
        bytes_accessed=sum(shape.bytes for shape in touched),
        memory_bytes=sum(shape.bytes for shape in touched if not shape.on_chip),
        collectives=collectives,
    )


def _like(part: Shape, whole: Shape) -> Shape:
    """Returns the shape of a part, in the memory that holds the whole."""
    return Shape(part.sides, part.bytes, whole.on_chip)


def _cost_of_loop(program: Program, at: Instruction) -> Cost:
    body = _cost_of_computation(program, at.attribute("body") or "")
    turns = _turns(program, at)
    if turns is None:
        return body + Cost(open_loops=1)
    return body.times(turns)


def _turns(program: Program, at: Instruction) -> int | None:
    """Returns the iterations of a loop that counts from zero to a constant; None for others."""
    condition = program.computations.get(at.attribute("condition") or "", {})
    for instruction in condition.values():
        if instruction.opcode == "compare" and "direction=LT" in instruction.rest:
            limits = [
                condition[name]
                for name in instruction.operands
                if name in condition and condition[name].opcode == "constant"
            ]
            if len(limits) == 1 and (number := re.match(r"(\d+)", limits[0].rest)):
                return int(number[1])
    return None


def _collective_kind(at: Instruction) -> str | None:
    """Returns the name of a collective's kind; None for other instructions.

    A collective between slices is a `send` to the host, which exchanges the data over the network.
    """
    if at.opcode == "send":
        network = re.search(r'_xla_megascale_transfer_type="(\w+)"', at.rest)
        return network and network[1].lower().replace("_", "-") + BETWEEN_SLICES
    kind = at.opcode.removesuffix("-start")
    return kind if kind in _COLLECTIVES else None


def _touched_by_fusion(program: Program, around: Instructions, at: Instruction) -> list[Shape]:
    """Returns what a fusion reads and writes: arrays, or the parts that it slices or updates."""
    inside = program.computations.get(at.attribute("calls") or "", {})
    parameters = {
        int(number[1]): name
        for name, instruction in inside.items()
        if instruction.opcode == "parameter" and (number := re.match(r"(\d+)", instruction.rest))
    }
    touched: list[Shape] = []
    for index, name in enumerate(at.operands):
        whole = list(around[name].shapes) if name in around else []
        parts = _parts_used(inside, parameters.get(index, ""))
        touched += whole if parts is None else [_like(part, whole[0]) for part in parts if whole]
    updates = {
        instruction.shapes[0].sides: inside[instruction.operands[1]].shapes
        for instruction in inside.values()
        if instruction.opcode == "dynamic-update-slice" and instruction.operands[1] in inside
    }
    for shape in at.shapes:
        update = updates.get(shape.sides)
        touched += [_like(update[0], shape)] if update else [shape]
    return touched


def _parts_used(inside: Instructions, parameter: str) -> list[Shape] | None:
    """Returns the parts of a parameter that a fusion reads; None if it reads all of it."""
    parts: list[Shape] = []
    for user in inside.values():
        if parameter not in user.operands:
            continue
        if user.opcode in ("dynamic-slice", "slice"):
            parts.append(user.shapes[0])
        elif user.opcode == "bitcast":
            further = _parts_used(inside, user.name)
            if further is None:
                return None
            parts += further
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == parameter:
            continue
        else:
            return None
    return parts


def _flops_of(program: Program, around: Instructions, at: Instruction) -> int:
    """Counts an instruction's floating-point operations; a product and a sum are two."""
    if at.opcode == "fusion":
        inside = program.computations.get(at.attribute("calls") or "", {})
        return sum(_flops_of(program, inside, instruction) for instruction in inside.values())
    if at.opcode in _FREE or at.opcode in _MOVES or not at.shapes:
        return 0
    operands = [around[name].shapes for name in at.operands if name in around]
    if at.opcode == "convolution" and len(operands) == 2:
        labels = re.search(r"dim_labels=\w+_(\w+)->", at.rest)
        kernel = operands[1][0]
        outputs = kernel.sides[labels[1].index("o")] if labels else 1
        return 2 * at.shapes[0].size * kernel.size // max(outputs, 1)
    if at.opcode == "dot" and operands:
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", at.rest)
        summed = 1
        for axis in axes[1].split(",") if axes else []:
            summed *= operands[0][0].sides[int(axis)] if axis else 1
        return 2 * at.shapes[0].size * summed
    if at.opcode in ("reduce", "reduce-window") and operands:
        return operands[0][0].size
    return sum(shape.size for shape in at.shapes)
