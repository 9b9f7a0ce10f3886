"""The text of a compiled TPU program: its instructions, and the bytes of their arrays."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_SIZES = {"pred": 1, "s4": 1, "u4": 1, "bf16": 2, "f8e4m3fn": 1, "f8e5m2": 1, "token": 0}
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_TILE = re.compile(r"T\(([\d,]+)\)")


@dataclass(frozen=True)
class Shape:
    """An array of a program.

    Attributes:
      sides: its lengths along each axis.
      bytes: its bytes, including the padding to whole tiles.
      on_chip: True if it lies in the chip's own memory, False in high-bandwidth memory.
    """

    sides: tuple[int, ...]
    bytes: int
    on_chip: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.sides)


@dataclass(frozen=True)
class Instruction:
    """An instruction of a program.

    Attributes:
      name: its name.
      opcode: its operation.
      shapes: arrays that it returns.
      operands: names of the instructions whose results it takes.
      rest: the text after its operands.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    rest: str

    def attribute(self, name: str) -> str | None:
        """Returns the name of a computation that an attribute gives; None if there is none."""
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None


@dataclass(frozen=True)
class Program:
    """The computations of a program.

    Attributes:
      computations: instructions by computation, and by their name in it.
      entry: name of the computation that runs first.
    """

    computations: Mapping[str, Mapping[str, Instruction]]
    entry: str


def parse(text: str) -> Program:
    """Parses the text of a compiled program (`compiled.as_text()`)."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = head[1]
            computations[current] = {}
            entry = current if line.startswith("ENTRY") else entry
        elif current and (found := _INSTRUCTION.match(line)):
            operands, _, rest = found[4].partition(")")
            computations[current][found[1]] = Instruction(
                name=found[1],
                opcode=found[3],
                shapes=tuple(_shapes(found[2])),
                operands=tuple(re.findall(r"%([\w.\-]+)", operands)) or _plain_operands(operands),
                rest=operands + rest,
            )
    return Program(computations, entry)


def _plain_operands(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _shapes(text: str) -> Iterator[Shape]:
    """Yields the arrays of an instruction's type."""
    for kind, sides, order, layout in _ARRAY.findall(text):
        size = tuple(int(side) for side in sides.split(",") if side)
        filled = math.prod(_filled(size, order, layout))
        yield Shape(size, filled * _element_size(kind), "S(1)" in layout)


def _element_size(kind: str) -> int:
    if kind in _SIZES:
        return _SIZES[kind]
    bits = re.search(r"\d+", kind)
    return max(int(bits[0]) // 8, 1) if bits else 0


def _filled(sides: Sequence[int], order: str, layout: str) -> list[int]:
    """Returns the lengths of an array whose last axes are padded to whole tiles."""
    filled = list(sides)
    tile = _TILE.search(layout)
    axes = [int(axis) for axis in order.split(",") if axis]
    if tile:
        tiles = [int(side) for side in tile[1].split(",")]
        for axis, side in zip(axes, reversed(tiles), strict=False):
            filled[axis] = -(-filled[axis] // side) * side
    return filled
