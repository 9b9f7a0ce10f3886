"""Reading of a FITS file's structure, with checks before astropy allocates memory for it."""

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader

from distax.io.source import Source
from distax.runtime.errors import DistaxError, DistaxWarning

_BLOCK, _CARD = 2880, 80
_MOST_BLOCKS = 4096
"""Longest header in blocks. It has room for 147,000 keywords."""
_MOST_AXES = 999
"""Most axes that the FITS standard allows."""
_BITPIX = (8, 16, 32, 64, -32, -64)
_WHOLE = re.compile(r"\s*([+-]?\d{1,18})\s*(/|$)")
_REAL = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d{1,4})?)\s*(/|$)")
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""Characters that no text has. Line breaks and tabs are left to sloppy writers."""
_TEXT = re.compile(r"\s*'((?:[^']|'')*)'")


@dataclass(frozen=True)
class Hdu:
    """A part of a FITS file: its header, and the place of its data.

    Attributes:
      where: file and number of the part, for error messages.
      index: number of the part.
      cards: values of the header's keywords, as text.
      offset: position of its data in the file.
    """

    where: str
    index: int
    cards: Mapping[str, str]
    offset: int

    def whole(self, keyword: str, default: int | None = None) -> int:
        """Returns the whole number of a keyword.

        Raises:
          DistaxError: the value is not a whole number, or is missing and has no default.
        """
        text = self.cards.get(keyword)
        if text is None and default is not None:
            return default
        found = _WHOLE.match(text or "")
        if not found:
            shown = "is missing" if text is None else f"is {text.strip()[:30]!r}, no whole number"
            raise DistaxError(f"{self.where}: {keyword} {shown}; the file is damaged")
        return int(found[1])

    def real(self, keyword: str, default: float) -> float:
        """Returns the finite number of a keyword, or the default if it is missing.

        Raises:
          DistaxError: the value is not a finite number.
        """
        text = self.cards.get(keyword)
        if text is None:
            return default
        if (value := parse_real(text)) is None:
            raise DistaxError(
                f"{self.where}: {keyword} is {text.strip()[:30]!r}, no number; the file is damaged"
            )
        return value

    def text(self, keyword: str) -> str:
        """Returns the text of a keyword; empty if it is missing or its value is no text."""
        found = _TEXT.match(self.cards.get(keyword, ""))
        return found[1].replace("''", "'").strip() if found else ""

    def flag(self, keyword: str) -> bool:
        """Returns True if a keyword is T."""
        return self.cards.get(keyword, "").strip()[:1] == "T"

    @property
    def name(self) -> str:
        """Name of the extension."""
        return self.text("EXTNAME") or ("" if self.index else "PRIMARY")

    @property
    def version(self) -> int:
        """Version of the extension, which distinguishes parts of the same name; 1 if damaged."""
        found = _WHOLE.match(self.cards.get("EXTVER", ""))
        return int(found[1]) if found else 1

    @property
    def is_compressed(self) -> bool:
        """True for an image that is stored as compressed tiles in a table."""
        return self.text("XTENSION") == "BINTABLE" and self.flag("ZIMAGE")

    @property
    def is_image(self) -> bool:
        """True for images, also compressed ones."""
        groups = self.flag("GROUPS") and self.whole("NAXIS") > 0 and self.whole("NAXIS1") == 0
        plain = self.index == 0 or self.text("XTENSION") in ("IMAGE", "IUEIMAGE")
        return self.is_compressed or (plain and not groups)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the image's axes, the fastest last."""
        return self.axes("ZNAXIS" if self.is_compressed else "NAXIS")[::-1]

    def axes(self, keyword: str) -> tuple[int, ...]:
        """Returns the lengths of all axes in the order of the header."""
        number = self.whole(keyword)
        if not 0 <= number <= _MOST_AXES:
            raise DistaxError(
                f"{self.where}: {keyword} is {number}, not 0 to {_MOST_AXES}; the file is damaged"
            )
        lengths = tuple(self.whole(f"{keyword}{axis}") for axis in range(1, number + 1))
        if any(length < 0 for length in lengths):
            raise DistaxError(f"{self.where}: has an axis of negative length; the file is damaged")
        return lengths

    @property
    def size(self) -> int:
        """Number of bytes of data that the header promises."""
        bitpix, axes = self.whole("BITPIX"), self.axes("NAXIS")
        extra, groups = self.whole("PCOUNT", 0), self.whole("GCOUNT", 1)
        if bitpix not in _BITPIX or extra < 0 or groups < 0:
            raise DistaxError(
                f"{self.where}: BITPIX {bitpix}, PCOUNT {extra} or GCOUNT {groups} is out of "
                "range; the file is damaged"
            )
        if self.flag("GROUPS") and axes[:1] == (0,):
            axes = axes[1:]
        values = math.prod(axes) if axes else 0
        return abs(bitpix) // 8 * groups * (extra + values)

    def __str__(self) -> str:
        """Number, name and shape, as error messages list them."""
        name = f"{self.index} {self.name}".strip()
        if not self.is_image:
            return f"{name} (a table)"
        return f"{name} ({'×'.join(map(str, self.shape)) or 'empty'})"


def parse_real(text: str) -> float | None:
    """Parses a keyword's value as a finite number; None if it is none."""
    # Fortran writes exponents of double precision by D.
    found = _REAL.match(text.upper().replace("D", "E"))
    return value if found and math.isfinite(value := float(found[1])) else None


def read_structure(source: Source) -> list[Hdu]:
    """Reads all headers of a FITS file, and checks that the file holds the data they promise.

    Raises:
      DistaxError: a header has no end, lacks a keyword, or promises more than the file holds.
    """
    parts: list[Hdu] = []
    offset = 0
    while offset < source.size:
        where = f"{source.path}: part {len(parts)}"
        source.file.seek(offset)
        # Bytes after the last part that begin no extension are to be ignored, says the standard.
        if parts and source.file.read(9) != b"XTENSION=":
            break
        source.file.seek(offset)
        cards = _read_cards(source.file, where)
        hdu = Hdu(where, len(parts), cards, source.file.tell())
        end = hdu.offset + hdu.size
        if end > source.size:
            raise DistaxError(
                f"{where}: its header promises {hdu.size:,} bytes of data, but "
                f"{max(source.size - hdu.offset, 0):,} are there; the file is truncated or damaged"
            )
        parts.append(hdu)
        offset = -(-end // _BLOCK) * _BLOCK
    source.file.seek(0)
    return parts


def _read_cards(file: BufferedReader, where: str) -> dict[str, str]:
    """Reads a header up to its end, and warns of one that holds other than text.

    If a keyword is repeated, its first value counts.
    """
    cards: dict[str, str] = {}
    binary = 0
    for card in _cards(file, where):
        keyword = card[:8].rstrip()
        if card[8:10] == "= ":
            cards.setdefault(keyword, card[10:])
        binary += bool(_BINARY.search(card))
    if binary:
        warnings.warn(
            f"{where}: {binary} lines of its header hold no text; this part is damaged, and what "
            "follows it may be lost",
            DistaxWarning,
            stacklevel=4,
        )
    return cards


def _cards(file: BufferedReader, where: str) -> Iterator[str]:
    for _ in range(_MOST_BLOCKS):
        block = file.read(_BLOCK).decode("latin-1")
        if len(block) < _BLOCK:
            break
        for start in range(0, _BLOCK, _CARD):
            card = block[start : start + _CARD]
            if card.rstrip() == "END":
                return
            yield card
    raise DistaxError(f"{where}: its header has no end; the file is truncated or damaged")
